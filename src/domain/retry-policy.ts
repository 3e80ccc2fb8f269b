/**
 * Whether a line is tried again after an outcome, and when. It knows one line; how many lines may be in flight, and whether
 * the upstream is paused, are the business of in-flight-limit.ts and breaker.ts. Pure: time and randomness come in.
 *
 * Each kind of trouble has its own curve of delays (seconds, n = 1 after the first try) and its own budget of tries. Only
 * tries that count are spent (line-history.ts): an upstream that serves nobody costs no line its budget.
 *
 *   congestion  429; 503 and 529 with `retry-after`. The upstream is well and asks for patience. Up to 2^(n-1), at most 60;
 *               30 tries while others succeed.
 *   stumble     408, 409, 500 and other 5xx, time ran out. Likely about this request, so a line that can never succeed must
 *               not hold up its batch: up to 2^(n-1), 8 tries, and only 3 when it is answered the same each time.
 *   outage      unreachable; 502, 503, 504, 52x, 530. Likely about the upstream: half to all of 1, 7, 49, 300 ...; 8 tries.
 *   refusal     401, 402, 403, out of quota. Half to all of 1, 6; 3 tries, so that a key that is changed while the
 *               batch runs costs no line its result.
 *
 * "Up to" is full jitter (uniform from zero), which spreads lines best; outages and refusals keep half of each delay fixed,
 * because full jitter could use up the budget within seconds.
 */
import { type AnswerClass, classify } from "./answer-class.ts";
import { type LineHistory, noteFailure } from "./line-history.ts";
import type { Outcome } from "./outcome.ts";

/** What is known of the upstream where the line is tried. */
export interface UpstreamStanding {
  /** When any line of the batch was last answered well, in ms; null when none was, as far as is known. */
  readonly servedAt: number | null;
  /** Some line of the batch was answered with success. */
  readonly hasServed: boolean;
  /** The upstream is paused, and the line is to find out whether it is back. */
  readonly isProbe: boolean;
  /** Only lines are left that have failed while others were served. Absent from an older Worker: no. */
  readonly isTail?: boolean;
  /** What the upstream stumbles over now is the line, although no other line succeeds. */
  readonly isStumbleFinal: boolean;
}

export interface FinishedAttempt {
  readonly outcome: Outcome;
  /** 1 for the first try. */
  readonly attempt: number;
  /** Of the tries before; null when none failed. */
  readonly history: LineHistory | null;
  readonly standing: UpstreamStanding;
  readonly startedAt: Date;
  readonly now: Date;
  /** No try starts at or after it. */
  readonly deadline: Date;
  /** Uniform in [0, 1). */
  readonly random: number;
}

export type RetryDecision = { readonly class: AnswerClass } & (
  | { readonly kind: "settle" }
  | {
      readonly kind: "retry";
      /** After now and before the deadline. */
      readonly at: Date;
      /** With this failure. */
      readonly history: LineHistory;
    }
);

/** A `retry-after` beyond it is taken for this much. */
export const MAX_RETRY_AFTER_SECONDS = 3600;
/** The same answer this often, to a line that fails by itself, is its answer. */
const MAX_REPEATS = 3;

type Reason = "congestion" | "stumble" | "outage" | "refusal";

interface Curve {
  readonly growth: number;
  readonly mostSeconds: number;
  /** The fraction of each delay that is not left to chance. */
  readonly fixed: number;
  /** Tries that count. */
  readonly maxTries: number;
}

const BASE_SECONDS = 1;

const CURVES: Readonly<Record<Reason, Curve>> = {
  congestion: { growth: 2, mostSeconds: 60, fixed: 0, maxTries: 30 },
  stumble: { growth: 2, mostSeconds: 300, fixed: 0, maxTries: 8 },
  outage: { growth: 7, mostSeconds: 300, fixed: 0.5, maxTries: 8 },
  refusal: { growth: 6, mostSeconds: 300, fixed: 0.5, maxTries: 3 },
};

/** Lines that were told the same `retry-after` come back spread over a tenth of it, and at least over this. */
const MIN_SPREAD_SECONDS = 1;
const SPREAD = 0.1;

/** A retry that would fall at or after the deadline is none: the line settles with what is there. */
export function decideRetry(attempt: FinishedAttempt): RetryDecision {
  const { outcome, standing, now, deadline } = attempt;
  const answerClass = classify(outcome, standing.hasServed);
  const reason = reasonOf(outcome, answerClass);
  if (reason === null || outcome.failure === null) return { kind: "settle", class: answerClass };
  const { servedAt, isProbe, isTail = false } = standing;
  const tried = { class: answerClass, failure: outcome.failure, startedAt: attempt.startedAt, now };
  const history = noteFailure(attempt.history, { ...tried, servedAt, isProbe, isTail });
  const isRepeated = outcome.kind === "answered" && hasItsAnswer(reason, history);
  // A failure that counts at once is the last of the tries, not one more.
  const tries = Math.min(attempt.attempt, history.spent + 1);
  if (isRepeated || hasHadItsTries(reason, tries, standing)) return { kind: "settle", class: answerClass };
  const delaySeconds = delayAfter(reason, tries, attempt);
  const at = new Date(now.getTime() + Math.ceil(delaySeconds * 1000));
  if (at >= deadline) return { kind: "settle", class: answerClass };
  return { kind: "retry", class: answerClass, at, history };
}

function hasHadItsTries(reason: Reason, tries: number, { isStumbleFinal }: UpstreamStanding): boolean {
  if (reason === "stumble" && isStumbleFinal) return true;
  return tries >= CURVES[reason].maxTries;
}

/** Answered the same time and again, while others succeed: that is its answer. */
function hasItsAnswer(reason: Reason, { repeats, spent }: LineHistory): boolean {
  return reason === "stumble" && repeats >= MAX_REPEATS && spent >= MAX_REPEATS - 1;
}

const REASONS: Readonly<Record<AnswerClass, Reason | null>> = {
  fine: null,
  busy: "congestion",
  away: "outage",
  refused: "refusal",
  stumble: "stumble",
};

/** Null: settled, whatever it is. */
function reasonOf(outcome: Outcome, answerClass: AnswerClass): Reason | null {
  if (outcome.kind === "unanswered") return REASONS[answerClass];
  const { statusCode, retryAfterSeconds } = outcome;
  if (answerClass === "fine" && (statusCode === 408 || statusCode === 409)) return "stumble";
  const isPatience = statusCode === 429 || retryAfterSeconds !== null;
  return answerClass === "busy" && !isPatience ? "outage" : REASONS[answerClass];
}

function delayAfter(reason: Reason, tries: number, { outcome, random }: FinishedAttempt): number {
  const curve = CURVES[reason];
  const ceiling = Math.min(curve.mostSeconds, BASE_SECONDS * curve.growth ** (tries - 1));
  const ownSeconds = ceiling * (curve.fixed + (1 - curve.fixed) * random);
  const asked = outcome.kind === "answered" ? outcome.retryAfterSeconds : null;
  // Zero asks for nothing: our own curve keeps such lines from a hot loop.
  if (asked === null || asked <= 0) return Math.max(ownSeconds, 0.001);
  const askedSeconds = Math.min(asked, MAX_RETRY_AFTER_SECONDS);
  const spread = random * Math.max(MIN_SPREAD_SECONDS, askedSeconds * SPREAD);
  // A short `retry-after` does not use up a budget faster than the curve would.
  return reason === "congestion" ? askedSeconds + spread : Math.max(askedSeconds + spread, ownSeconds);
}
