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
  // D1 may not list this batch yet.
  return planShares(contest).get(id) ?? contest.maxInFlight;
}

/** Those whose share is another with `contender` than without. */
export function findAffected(contest: Contest, contender: Contender): readonly string[] {
  const others = contest.contenders.filter(({ id }) => id !== contender.id);
  const contenders = [...others, contender].toSorted((a, b) => (a.id < b.id ? -1 : 1));
  const without = planShares({ ...contest, contenders: others });
  const beside = planShares({ ...contest, contenders });
  return others.map(({ id }) => id).filter((id) => without.get(id) !== beside.get(id));
}

function planShares({ maxInFlight, linesPerInvocation, contenders }: Contest): ReadonlyMap<string, number> {
  const smallestFirst = contenders.toSorted((a, b) => a.unsettledLines - b.unsettledLines);
  const turnLines = Math.max(1, Math.min(linesPerInvocation, Math.floor(maxInFlight / MIN_TURNS)));
  const needed = contenders.reduce((sum, { unsettledLines }) => sum + Math.min(unsettledLines, turnLines), 0);
  if (needed <= maxInFlight) {
    const share = evenShare(maxInFlight, smallestFirst);
    return new Map(contenders.map(({ id }) => [id, share]));
  }
  const shares = new Map<string, number>();
  let room = maxInFlight;
  function takeTurns(order: readonly Contender[], keptRoom: number): void {
    for (const { id, unsettledLines } of order) {
      const lines = room <= keptRoom ? 0 : Math.min(unsettledLines, turnLines, room);
      if ((shares.get(id) ?? 0) > 0) continue;
      shares.set(id, lines);
      room -= lines;
    }
  }
  takeTurns(contenders, maxInFlight / 2);
  takeTurns(smallestFirst, 0);
  return shares;
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
