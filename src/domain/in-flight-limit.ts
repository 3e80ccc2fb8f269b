/**
 * How many lines of a batch its upstream takes at once: the in-flight limit. It lies within the batch's share
 * (src/domain/upstream-share.ts) and follows TCP's rule of additive increase and multiplicative decrease (RFC 5681),
 * so that batches on one upstream converge to what it takes, and to equal parts, where that is less than their shares.
 * It is counted by answers, not by the clock. Over `size` answers, which is about one round trip, a limit
 *
 *   doubles                                     until it has met pressure, and after a pause up to half of what it was,
 *   gains share / 32, and a quarter at least    when all answers were fine,
 *   loses half of the fraction under pressure   all of it 429 halves the limit, 3 % costs 1.5 %.
 *
 * An upstream that serves nobody is the breaker's business (breaker.ts). Pure.
 */
import type { AnswerCounts } from "./conversation.ts";

export interface InFlightLimit {
  /** Lines, at least 1. Fractions are kept so that small steps add up. */
  readonly size: number;
  /** Below this size it doubles each round; 0 once it has met pressure. */
  readonly doublesUntil: number;
}

export interface AnswerReport extends AnswerCounts {
  /** The batch's share of the upstream now. A limit that is larger already stays so until there is pressure. */
  readonly shareLines: number;
}

const INITIAL_LINES = 64;
const ROUNDS_FROM_ONE_TO_SHARE = 32;
/** With a larger step a thousand small limits would push an upstream that is full; with a smaller one they crawl. */
const MIN_STEP = 0.25;

/** @param mostLines the limit never starts above it. */
export function startLimit(mostLines: number): InFlightLimit {
  return { size: clamp(INITIAL_LINES, mostLines), doublesUntil: Number.POSITIVE_INFINITY };
}

/** The limit after a pause of the upstream: one line, and from there in few rounds to half of what it was. */
export function restartLimit({ size }: InFlightLimit): InFlightLimit {
  return { size: 1, doublesUntil: size / 2 };
}

/** The limit after a report of the lines that ran within it. */
export function adjustLimit(before: InFlightLimit, { answers, pressured, shareLines }: AnswerReport): InFlightLimit {
  const fine = answers - pressured;
  // A batch whose share is 0 waits for its turn: it cannot learn what it may have when its turn comes.
  const most = pressured > 0 && shareLines > 0 ? shareLines : Math.max(shareLines, before.size);
  const doublesUntil = pressured > 0 ? 0 : before.doublesUntil;
  const size = clamp(before.size, most);
  const grown = fine > 0 ? grow({ size, doublesUntil }, fine, most) : size;
  return { size: clamp(grown - pressured / 2, most), doublesUntil };
}

/** Lines that may be in flight now, at least 1. */
export function allowedBy({ size }: InFlightLimit): number {
  return Math.floor(size);
}

function grow({ size, doublesUntil }: InFlightLimit, fine: number, most: number): number {
  if (size < doublesUntil) return Math.max(size, Math.min(size + fine, doublesUntil));
  const step = Math.max(MIN_STEP, most / ROUNDS_FROM_ONE_TO_SHARE);
  // Each answer adds step / size. This is the sum of that over all answers of the report.
  return Math.sqrt(size ** 2 + 2 * step * fine);
}

function clamp(size: number, most: number): number {
  return Math.max(1, Math.min(size, most));
}
