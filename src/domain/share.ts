/**
 * How the batches that run on one upstream share what it may have in flight. While there is room for all, it is
 * shared out evenly, and what a small batch cannot use goes to the others (max-min fairness). When there are too
 * many they take turns, because a consumer with one line in flight is as dear as one with five: half of the room
 * is for the oldest, so that none waits for ever, the rest for those that are nearest to their end. Pure.
 */

/** A batch that runs, as D1 last heard of it. */
export interface Contender {
  readonly id: string;
  readonly unsettledLines: number;
  /** Of these, what could be in flight now: not those that wait to be tried again. */
  readonly runnableLines: number;
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

/** Lines that the batch `id` may have in flight; 0: it is not its turn. One that is not among them has a turn. */
export function planShare(contest: Contest, id: string): number {
  return planShares(contest).get(id) ?? turnLinesOf(contest);
}

/** The contenders with this one among them as it is now; without it when it can run nothing. */
export function withContender(contenders: readonly Contender[], contender: Contender): readonly Contender[] {
  const others = contenders.filter(({ id }) => id !== contender.id);
  return contender.runnableLines === 0 ? others : [...others, contender].toSorted((a, b) => (a.id < b.id ? -1 : 1));
}

/** Those whose share is another with `contender` than without. */
export function findAffected(contest: Contest, contender: Contender): readonly string[] {
  const others = contest.contenders.filter(({ id }) => id !== contender.id);
  const without = planShares({ ...contest, contenders: others });
  const beside = planShares({ ...contest, contenders: withContender(others, contender) });
  return others.map(({ id }) => id).filter((id) => without.get(id) !== beside.get(id));
}

function turnLinesOf({ maxInFlight, linesPerInvocation }: Contest): number {
  return Math.max(1, Math.min(linesPerInvocation, Math.floor(maxInFlight / MIN_TURNS)));
}

function planShares(contest: Contest): ReadonlyMap<string, number> {
  const { maxInFlight, contenders } = contest;
  const turnLines = turnLinesOf(contest);
  const needed = contenders.reduce((sum, { runnableLines }) => sum + Math.min(runnableLines, turnLines), 0);
  if (needed <= maxInFlight) {
    const share = evenShare(maxInFlight, contenders);
    return new Map(contenders.map(({ id }) => [id, share]));
  }
  const shares = new Map<string, number>();
  let room = maxInFlight;
  function takeTurns(order: readonly Contender[], keptRoom: number): void {
    for (const { id, runnableLines } of order) {
      const lines = room <= keptRoom ? 0 : Math.min(runnableLines, turnLines, room);
      if ((shares.get(id) ?? 0) > 0) continue;
      shares.set(id, lines);
      room -= lines;
    }
  }
  takeTurns(contenders, maxInFlight / 2);
  const smallestFirst = contenders.toSorted((a, b) => a.unsettledLines - b.unsettledLines);
  takeTurns(smallestFirst, 0);
  return shares;
}

/** The most that each may have so that together they have no more than there is. */
function evenShare(maxInFlight: number, contenders: readonly Contender[]): number {
  const smallestFirst = contenders.toSorted((a, b) => a.runnableLines - b.runnableLines);
  let room = maxInFlight;
  for (const [index, { runnableLines }] of smallestFirst.entries()) {
    const share = room / (smallestFirst.length - index);
    if (runnableLines >= share) return Math.max(1, Math.floor(share));
    room -= runnableLines;
  }
  return maxInFlight;
}
