/**
 * How the batches that run on one upstream share what it may have in flight. While there is room for all, it is
 * shared out evenly, and what a small batch cannot use goes to the others (max-min fairness). When there are too
 * many they take turns, because a consumer with one line in flight costs as much as one with five: half of the room
 * is for the oldest, so that none waits for ever, the rest for those that are nearest to their end. Pure.
 */
import { shareEvenly } from "./even-shares.ts";

/** A batch that runs. */
export interface RunningBatch {
  readonly id: string;
  readonly unsettledLines: number;
  /** Of these, what could be in flight now: not those that wait to be tried again. */
  readonly runnableLines: number;
}

/** An upstream and who wants it. */
export interface UpstreamLoad {
  /** Lines that it may have in flight. */
  readonly lines: number;
  readonly linesPerInvocation: number;
  /** Every batch that runs on the upstream, the oldest first. */
  readonly running: readonly RunningBatch[];
}

/** This many batches have a turn at once, even where one consumer could take all lines of the upstream. */
const MIN_TURNS = 8;

/**
 * Lines that each may have in flight, never more than it could use; whoever is not there waits for its turn. In the order in
 * which they come first where there is no room for all.
 */
export function planShares(load: UpstreamLoad): ReadonlyMap<string, number> {
  const { lines, running } = load;
  if (lines < 1) return new Map();
  const turnLines = Math.max(1, Math.min(load.linesPerInvocation, Math.floor(lines / MIN_TURNS)));
  const needed = running.reduce((sum, { runnableLines }) => sum + Math.min(runnableLines, turnLines), 0);
  if (needed > lines) return takeTurns(lines, turnLines, running);
  const shares = shareEvenly(
    lines,
    running.map(({ runnableLines }) => runnableLines),
  );
  return new Map(running.map(({ id }, index) => [id, shares[index] ?? 0]));
}

function takeTurns(lines: number, turnLines: number, running: readonly RunningBatch[]): ReadonlyMap<string, number> {
  const shares = new Map<string, number>();
  let room = lines;
  function give(order: readonly RunningBatch[], keptRoom: number): void {
    for (const { id, runnableLines } of order) {
      if (room <= keptRoom) return;
      if (shares.has(id) || runnableLines === 0) continue;
      const share = Math.min(runnableLines, turnLines, room);
      shares.set(id, share);
      room -= share;
    }
  }
  give(running, lines / 2);
  give(
    running.toSorted((a, b) => a.unsettledLines - b.unsettledLines),
    0,
  );
  return shares;
}
