/**
 * How many lines an upstream takes at once, over all batches: the in-flight limit. It never exceeds the upstream's
 * `max_in_flight`, and follows TCP's rule of additive increase and multiplicative decrease (RFC 5681) to what the upstream
 * really takes. It is counted by answers, not by the clock. Over `size` answers, which is about one round trip, a limit
 *
 *   doubles                                     until it has met pressure, and after a pause up to most of what it was,
 *   gains a hundredth, and a quarter at least   when all answers were fine and the limit was used,
 *   loses half of the fraction under pressure   all of it 429 halves the limit, 3 % costs 1.5 %.
 *
 * So about one answer in fifty is pressure where an upstream takes less than it is said to: gain and loss are equal there.
 * An upstream that serves nobody is the breaker's business (breaker.ts). Pure.
 */

export interface InFlightLimit {
  /** Lines, at least 1. Fractions are kept so that small steps add up. */
  readonly size: number;
  /** Below this size it doubles each round; 0 once it has met pressure. Null: it has met none. */
  readonly doublesUntil: number | null;
}

export interface LimitedAnswers {
  /** Answers that were no pressure, and those that were: busy, or away (answer-class.ts). */
  readonly fine: number;
  readonly pressured: number;
  /** The upstream's `max_in_flight`. */
  readonly mostLines: number;
  /** There were lines for all that the limit allows: only then do fine answers say that the upstream takes as much. */
  readonly isUsed: boolean;
}

const INITIAL_LINES = 64;
const GROWTH = 0.01;
/** So that a limit of a few lines moves at all. */
const MIN_STEP = 0.25;
/** Of what the limit was before a pause. */
const REGAINED_QUICKLY = 0.75;

/** @param mostLines the limit never starts above it. */
export function startLimit(mostLines: number): InFlightLimit {
  return { size: clamp(INITIAL_LINES, mostLines), doublesUntil: null };
}

/** The limit after a pause of the upstream: one line, and from there in few rounds to most of what it was. */
export function restartLimit({ size }: InFlightLimit): InFlightLimit {
  return { size: 1, doublesUntil: size * REGAINED_QUICKLY };
}

/** The limit after answers to lines that ran within it. */
export function adjustLimit(before: InFlightLimit, answers: LimitedAnswers): InFlightLimit {
  const { fine, pressured, mostLines, isUsed } = answers;
  const limit = { size: clamp(before.size, mostLines), doublesUntil: pressured > 0 ? 0 : before.doublesUntil };
  const grown = fine > 0 && isUsed ? grow(limit, fine) : limit.size;
  return { ...limit, size: clamp(grown - pressured / 2, mostLines) };
}

/** Lines that may be in flight now, at least 1. */
export function allowedBy({ size }: InFlightLimit): number {
  return Math.floor(size);
}

function grow({ size, doublesUntil }: InFlightLimit, fine: number): number {
  const until = doublesUntil ?? Number.POSITIVE_INFINITY;
  if (size < until) return Math.min(size + fine, until);
  return size + (fine / size) * Math.max(MIN_STEP, size * GROWTH);
}

function clamp(size: number, most: number): number {
  return Math.max(1, Math.min(size, most));
}
