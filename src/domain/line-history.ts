/**
 * What a line has gone through, and which of its failures count against it. Pure.
 *
 * A failure counts when the upstream served other lines while this one was tried, or since it failed last: then it is the
 * line that fails. From then on a line that the upstream stumbles over is suspect: its further failures of that kind count
 * at once, and say nothing of the upstream. At the tail of a batch, when only lines are left that have failed so before,
 * every failure counts: there are no others that could be served.
 */
import type { AnswerClass } from "./answer-class.ts";
import { firstCharacters } from "./characters.ts";
import type { Failure } from "./outcome.ts";

export interface LineHistory {
  /** Failures that count. */
  readonly spent: number;
  /** When it failed last, in ms. */
  readonly failedAt: number;
  /** How often in a row it was answered the same. */
  readonly repeats: number;
  /** What it was last answered, cut short: its error line when the batch ends before the line has a result. */
  readonly failure: Failure;
}

export interface FailedTry {
  readonly class: AnswerClass;
  readonly failure: Failure;
  readonly startedAt: Date;
  readonly now: Date;
  /** When any line was last served, in ms; null when none was. */
  readonly servedAt: number | null;
  /** The upstream is paused, and this was to find out whether it is back. */
  readonly isProbe: boolean;
  /** Only lines are left that have failed while others were served. */
  readonly isTail: boolean;
}

/** Ours: fifty of them are stored in a row. */
const MAX_KEPT_CHARACTERS = 300;

/** What the line is answered so says nothing of the upstream. */
export function isSuspect(history: LineHistory | null, answerClass: AnswerClass): boolean {
  return answerClass === "stumble" && (history?.spent ?? 0) > 0;
}

export function noteFailure(before: LineHistory | null, tried: FailedTry): LineHistory {
  const { failure, now } = tried;
  const kept = {
    code: firstCharacters(failure.code, MAX_KEPT_CHARACTERS),
    message: firstCharacters(failure.message, MAX_KEPT_CHARACTERS),
  };
  const isSame = before?.failure.code === kept.code && before.failure.message === kept.message;
  return {
    spent: (before?.spent ?? 0) + (counts(before, tried) ? 1 : 0),
    failedAt: now.getTime(),
    repeats: isSame ? before.repeats + 1 : 1,
    failure: kept,
  };
}

function counts(before: LineHistory | null, tried: FailedTry): boolean {
  const { startedAt, servedAt, isProbe, isTail } = tried;
  if (isTail) return true;
  if (isProbe) return false;
  const since = Math.min(startedAt.getTime(), before?.failedAt ?? Infinity);
  return isSuspect(before, tried.class) || (servedAt !== null && servedAt > since);
}
