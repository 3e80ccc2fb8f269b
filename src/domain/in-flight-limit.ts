/**
 * How many lines of a batch its upstream takes at once: the in-flight limit. It lies within the batch's share
 * (src/domain/upstream-share.ts) and follows TCP's rule of additive increase and multiplicative decrease (RFC 5681),
 * so that batches on one upstream converge to what it takes, and to equal parts, where that is less than their shares.
 * It is counted by answers, not by the clock. Over `size` answers, which is about one round trip, a limit
 *
 *   doubles                                     before it has met any pressure,
 *   gains share / 32, and a quarter at least    when all answers were fine,
 *   loses half of the fraction under pressure   all of it 429 halves the limit, 3 % costs 1.5 %.
 *
 * A limit of one line that still meets nothing but pressure becomes a pause of 1 s to 60 s; then one line probes. Pure.
 */
import type { AnswerCounts } from "./conversation.ts";

export interface InFlightLimit {
  /** Lines, at least 1. Fractions are kept so that small steps add up. */
  readonly size: number;
  /** `slow_start` until the first pressure: the limit doubles each round. */
  readonly phase: "slow_start" | "steady";
  /** Nothing is sent before it; null when there is no pause. */
  readonly pausedUntil: Date | null;
  /** Length of the last pause; 0 once an answer was fine. */
  readonly pauseSeconds: number;
}

export interface AnswerReport extends AnswerCounts {
  /** The batch's share of the upstream now. A limit that is larger already stays so until there is pressure. */
  readonly shareLines: number;
  readonly now: Date;
}

const INITIAL_LINES = 64;
const ROUNDS_FROM_ONE_TO_SHARE = 32;
/** With a larger step a thousand small limits would push an upstream that is full; with a smaller one they crawl. */
const MIN_STEP = 0.25;
const MIN_PAUSE_SECONDS = 1;
const MAX_PAUSE_SECONDS = 60;

/** @param mostLines the limit never starts above it. */
export function startLimit(mostLines: number): InFlightLimit {
  return { size: clamp(INITIAL_LINES, mostLines), phase: "slow_start", pausedUntil: null, pauseSeconds: 0 };
}

/** The limit after a report of the lines that ran within it. */
export function adjustLimit(before: InFlightLimit, report: AnswerReport): InFlightLimit {
  const { answers, pressured, shareLines, now } = report;
  const fine = answers - pressured;
  // A batch whose share is 0 waits for its turn: it cannot learn what it may have when its turn comes.
  const most = pressured > 0 && shareLines > 0 ? shareLines : Math.max(shareLines, before.size);
  const limit = { ...before, size: clamp(before.size, most) };
  if (fine > 0) {
    const grown = pressured === 0 ? grow(limit, fine, most) : grow({ ...limit, phase: "steady" }, fine, most);
    return {
      size: clamp(grown - pressured / 2, most),
      phase: pressured === 0 ? limit.phase : "steady",
      pausedUntil: null,
      pauseSeconds: 0,
    };
  }
  // Lines that were in flight when the pause began say nothing new.
  if (pressured === 0 || isPaused(limit, now)) return limit;
  if (limit.size > 1) return { ...limit, size: clamp(limit.size - pressured / 2, most), phase: "steady" };
  const pauseSeconds = Math.min(MAX_PAUSE_SECONDS, Math.max(MIN_PAUSE_SECONDS, limit.pauseSeconds * 2));
  return { size: 1, phase: "steady", pausedUntil: new Date(now.getTime() + pauseSeconds * 1000), pauseSeconds };
}

/** Lines that may be in flight now: 0 in a pause, else at least 1. */
export function allowedNow(limit: InFlightLimit, now: Date): number {
  return isPaused(limit, now) ? 0 : Math.floor(limit.size);
}

function isPaused(limit: InFlightLimit, now: Date): boolean {
  return limit.pausedUntil !== null && now < limit.pausedUntil;
}

function grow(limit: InFlightLimit, fine: number, most: number): number {
  if (limit.phase === "slow_start") return limit.size + fine;
  const step = Math.max(MIN_STEP, most / ROUNDS_FROM_ONE_TO_SHARE);
  // Each answer adds step / size. This is the sum of that over all answers of the report.
  return Math.sqrt(limit.size ** 2 + 2 * step * fine);
}

function clamp(size: number, most: number): number {
  return Math.max(1, Math.min(size, most));
}
