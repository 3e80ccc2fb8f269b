/**
 * How the batches that run on one upstream share what it may have in flight. While there is room for all, it is
 * shared out evenly, and what a small batch cannot use goes to the others (max-min fairness). When there are too
 * many they take turns, because a consumer with one line in flight costs as much as one with five: half of the room
 * is for the oldest, so that none waits for ever, the rest for those that are nearest to their end. Pure.
 */

/** A batch that runs, as D1 last heard of it. */
export interface RunningBatch {
  readonly id: string;
  readonly unsettledLines: number;
  /** Of these, what could be in flight now: not those that wait to be tried again. */
  readonly runnableLines: number;
}

/** An upstream and who wants it. */
export interface UpstreamLoad {
  /** The upstream's `maxInFlight`. */
  readonly maxInFlight: number;
  readonly linesPerInvocation: number;
  /** Every batch that runs on the upstream, the oldest first. */
  readonly running: readonly RunningBatch[];
}

/** This many batches have a turn at once, even where one consumer could take all lines of the upstream. */
const MIN_TURNS = 8;

/** Lines that the batch `id` may have in flight; 0: it is not its turn. One that is not listed has a turn. */
export function planShare(load: UpstreamLoad, id: string): number {
  return planShares(load).get(id) ?? turnLinesOf(load);
}

/** The running batches with this one as it is now; without it when it can run nothing. */
export function withBatch(running: readonly RunningBatch[], batch: RunningBatch): readonly RunningBatch[] {
  const others = running.filter(({ id }) => id !== batch.id);
  return batch.runnableLines === 0 ? others : [...others, batch].toSorted((a, b) => (a.id < b.id ? -1 : 1));
}

/** Ids of the other batches whose share depends on whether `changed` runs. */
export function findAffected(load: UpstreamLoad, changed: RunningBatch): readonly string[] {
  const others = load.running.filter(({ id }) => id !== changed.id);
  const without = planShares({ ...load, running: others });
  const beside = planShares({ ...load, running: withBatch(others, changed) });
  return others.map(({ id }) => id).filter((id) => without.get(id) !== beside.get(id));
}

function turnLinesOf({ maxInFlight, linesPerInvocation }: UpstreamLoad): number {
  return Math.max(1, Math.min(linesPerInvocation, Math.floor(maxInFlight / MIN_TURNS)));
}

function planShares(load: UpstreamLoad): ReadonlyMap<string, number> {
  const { maxInFlight, running } = load;
  const turnLines = turnLinesOf(load);
  const needed = running.reduce((sum, { runnableLines }) => sum + Math.min(runnableLines, turnLines), 0);
  if (needed <= maxInFlight) {
    const share = evenShare(maxInFlight, running);
    return new Map(running.map(({ id }) => [id, share]));
  }
  const shares = new Map<string, number>();
  let room = maxInFlight;
  function takeTurns(order: readonly RunningBatch[], keptRoom: number): void {
    for (const { id, runnableLines } of order) {
      const lines = room <= keptRoom ? 0 : Math.min(runnableLines, turnLines, room);
      if ((shares.get(id) ?? 0) > 0) continue;
      shares.set(id, lines);
      room -= lines;
    }
  }
  takeTurns(running, maxInFlight / 2);
  const smallestFirst = running.toSorted((a, b) => a.unsettledLines - b.unsettledLines);
  takeTurns(smallestFirst, 0);
  return shares;
}

/** The most that each may have so that together they have no more than there is. */
function evenShare(maxInFlight: number, running: readonly RunningBatch[]): number {
  const smallestFirst = running.toSorted((a, b) => a.runnableLines - b.runnableLines);
  let room = maxInFlight;
  for (const [index, { runnableLines }] of smallestFirst.entries()) {
    const share = room / (smallestFirst.length - index);
    if (runnableLines >= share) return Math.max(1, Math.floor(share));
    room -= runnableLines;
  }
  return maxInFlight;
}
