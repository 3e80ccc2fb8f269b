/**
 * What the ledger keeps of single lines, and what follows from it for their slice. Pure.
 *
 *             handOut              settle
 *   pending ───────────▶ open ───────────────▶ settled
 *     ▲  │                 │                    ▲   │
 *     │  └─────────────────┼── settleMissing ───┘   │
 *     ├─ giveBack, release ┘                        │
 *     └──────────────────── reopen ─────────────────┘
 *
 *   pending        nobody has the line; it may be handed out from the time at which it is due
 *   handOut        its slice goes to a dispatch, which then has all due lines of it
 *   giveBack       the dispatch wants it to be tried later, by whoever has room then
 *   release        the dispatch is gone: what it had is pending again
 *   settle         its result is stored
 *   settleMissing  the batch ends without a result of the line; its error line is stored
 *   reopen         the stored result is lost
 */
import type { LineHistory } from "./line-history.ts";
import type { ClaimedLine, Slice } from "./slices.ts";

/** A line that is not settled. */
export interface PendingLine {
  /** Tries so far. */
  readonly attempts: number;
  /** It is not tried again before it (ms; 0: now). */
  readonly dueAt: number;
  /** Null: it never failed. */
  readonly history?: LineHistory | null;
  /** How many consumers have died while they had it. */
  readonly lapses?: number;
}

/** Null: settled. */
export type LineState = PendingLine | null;

/** `fresh`: nothing of it was ever reported or taken back. `settled`: every line is. A list: one entry a line. */
export type SliceProgress = "fresh" | "settled" | readonly LineState[];

export interface SliceState {
  readonly slice: Slice;
  readonly progress: SliceProgress;
  /** Who works on it; null: nobody. */
  readonly token: string | null;
}

export const UNTRIED: PendingLine = { attempts: 0, dueAt: 0 };

/** A line that this many consumers died with runs alone: it may be what kills them. */
const LAPSES_UNTIL_ALONE = 2;
/** And after this many it does not run any more. */
const LAPSES_UNTIL_LOST = 4;

export function mustRunAlone({ lapses = 0 }: PendingLine): boolean {
  return lapses >= LAPSES_UNTIL_ALONE;
}

export function isLost({ lapses = 0 }: PendingLine): boolean {
  return lapses >= LAPSES_UNTIL_LOST;
}

/** Numbers of the lines that are not settled. */
export function pendingLines(slice: Slice, progress: SliceProgress): readonly number[] {
  if (progress === "settled") return [];
  const numbers = Array.from({ length: slice.lineCount }, (_, offset) => slice.firstLine + offset);
  return progress === "fresh" ? numbers : numbers.filter((line) => progress[line - slice.firstLine] !== null);
}

/** A line of a slice that is not settled. */
export function lineAt(slice: Slice, progress: SliceProgress, line: number): PendingLine {
  return typeof progress === "string" ? UNTRIED : (progress[line - slice.firstLine] ?? UNTRIED);
}

export function toClaimedLine(line: number, { attempts, history = null }: PendingLine): ClaimedLine {
  return history === null ? { line, attempts } : { line, attempts, history };
}

export function untried(slice: Slice): readonly LineState[] {
  return Array.from({ length: slice.lineCount }, () => UNTRIED);
}

/**
 * When the lines of a returned slice may be handed out, worked out once for each change of it: a report asks this of every
 * returned slice, and after an outage all slices of a batch are returned.
 */
export interface DueTimes {
  /** Sorted, one for each pending line that may run. */
  readonly times: readonly number[];
}

export function dueTimesOf(slice: Slice, progress: SliceProgress): DueTimes {
  const lines = pendingLines(slice, progress).map((line) => lineAt(slice, progress, line));
  const times = lines.filter((line) => !isLost(line)).map(({ dueAt }) => dueAt);
  return { times: times.toSorted((a, b) => a - b) };
}

export function countDue({ times }: DueTimes, now: number): number {
  const last = times.at(-1);
  if (last === undefined || last <= now) return times.length;
  if ((times[0] ?? 0) > now) return 0;
  return times.findIndex((time) => time > now);
}

/** Null: none is due after `now`. */
export function nextDue({ times }: DueTimes, now: number): number | null {
  if ((times.at(-1) ?? 0) <= now) return null;
  return times.find((time) => time > now) ?? null;
}
