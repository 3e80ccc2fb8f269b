/**
 * How the batches that run on one upstream share what it may have in flight. While there is room for all, it is
 * shared out evenly, and what a small batch cannot use goes to the others (max-min fairness). When there are too
 * many they take turns, because a consumer with one line in flight is as dear as one with five: half of the room
 * is for the oldest, so that none waits for ever, the rest for those that are nearest to their end. Pure.
 */

export interface Contender {
  readonly id: string;
  /** As D1 last heard. */
  readonly unsettledLines: number;
}

export interface Contest {
  /** The upstream's `maxInFlight`. */
  readonly maxInFlight: number;
  readonly linesPerInvocation: number;
  /** Every batch that runs on the upstream, the oldest first. */
  readonly contenders: readonly Contender[];
}

/** However many lines a consumer could take: so many batches have a turn at once. */
const MIN_TURNS = 8;

/** Lines that the batch `id` may have in flight; 0: it is not its turn. */
export function planShare(contest: Contest, id: string): number {
  const { maxInFlight, linesPerInvocation, contenders } = contest;
  // D1 does not list this batch yet.
  if (!contenders.some((contender) => contender.id === id)) return maxInFlight;
  const smallestFirst = contenders.toSorted((a, b) => a.unsettledLines - b.unsettledLines);
  const turnLines = Math.max(1, Math.min(linesPerInvocation, Math.floor(maxInFlight / MIN_TURNS)));
  const needed = contenders.reduce((sum, { unsettledLines }) => sum + Math.min(unsettledLines, turnLines), 0);
  if (needed <= maxInFlight) return evenShare(maxInFlight, smallestFirst);
  return planTurns(contest, smallestFirst, turnLines).get(id) ?? 0;
}

function planTurns(
  { maxInFlight, contenders }: Contest,
  smallestFirst: readonly Contender[],
  turnLines: number,
): ReadonlyMap<string, number> {
  const turns = new Map<string, number>();
  let room = maxInFlight;
  function fill(order: readonly Contender[], keptRoom: number): void {
    for (const { id, unsettledLines } of order) {
      if (room <= keptRoom) return;
      if (turns.has(id)) continue;
      const lines = Math.min(unsettledLines, turnLines, room);
      turns.set(id, lines);
      room -= lines;
    }
  }
  fill(contenders, maxInFlight / 2);
  fill(smallestFirst, 0);
  return turns;
}

/** The most that each may have so that together they have no more than there is. */
function evenShare(maxInFlight: number, smallestFirst: readonly Contender[]): number {
  let room = maxInFlight;
  for (const [index, { unsettledLines }] of smallestFirst.entries()) {
    const share = room / (smallestFirst.length - index);
    if (unsettledLines >= share) return Math.max(1, Math.floor(share));
    room -= unsettledLines;
  }
  return maxInFlight;
}
