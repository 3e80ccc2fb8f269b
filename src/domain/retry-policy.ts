/**
 * Whether a line is tried again after an outcome, and when. It knows one line and one outcome; how many lines
 * may be in flight is the dispatch window's business. Pure: time and randomness come in.
 *
 * Three things can be wrong, and each has its own curve of delays (seconds, n = 1 after the first try):
 *
 *   congestion  429; 503 and 529 with `retry-after`. The upstream is well and asks for patience: no budget,
 *               the deadline alone ends it. Up to 2^(n-1), at most 60: the dispatch window is the brake here.
 *   stumble     408, 409, 500 and other 5xx, time ran out. Likely about this request, so a line that can never
 *               succeed must not hold up its batch: up to 2^(n-1). Seven waits: at most 127 s, 64 s on average.
 *   outage      unreachable; 502, 503, 504, 52x, 530. Likely about the upstream, and the line must outlive
 *               it: half to all of 1, 7, 49, 300, 300, 300, 300. Seven waits: 10.5 to 21 minutes, so that an
 *               upstream that is down for ten minutes costs no line its result.
 *
 * "Up to" is full jitter (uniform from zero), which spreads lines best; an outage keeps half of each delay
 * fixed, because full jitter could use up the budget within seconds.
 */
import type { Outcome } from "./outcome.ts";

export interface FinishedAttempt {
  readonly outcome: Outcome;
  /** 1 for the first try. */
  readonly attempt: number;
  readonly now: Date;
  /** No try starts at or after it. */
  readonly deadline: Date;
  /** Uniform in [0, 1). */
  readonly random: number;
}

export type RetryDecision =
  | { readonly kind: "settle" }
  | {
      readonly kind: "retry";
      /** After now and before the deadline. */
      readonly at: Date;
    };

/** Tries of a line that stumbles or meets an outage. */
export const MAX_ATTEMPTS = 8;
/** A `retry-after` beyond it is taken for this much. */
export const MAX_RETRY_AFTER_SECONDS = 3600;

type Trouble = "congestion" | "stumble" | "outage";

interface Curve {
  readonly growth: number;
  readonly mostSeconds: number;
  /** The share of each delay that is not left to chance. */
  readonly fixedShare: number;
  readonly maxAttempts: number;
}

const BASE_SECONDS = 1;

const CURVES: Readonly<Record<Trouble, Curve>> = {
  congestion: { growth: 2, mostSeconds: 60, fixedShare: 0, maxAttempts: Number.POSITIVE_INFINITY },
  stumble: { growth: 2, mostSeconds: 300, fixedShare: 0, maxAttempts: MAX_ATTEMPTS },
  outage: { growth: 7, mostSeconds: 300, fixedShare: 0.5, maxAttempts: MAX_ATTEMPTS },
};

/** Lines that were told the same `retry-after` come back spread over a tenth of it, and at least over this. */
const MIN_SPREAD_SECONDS = 1;
const SPREAD_SHARE = 0.1;

const SETTLE: RetryDecision = { kind: "settle" };

/** A retry that would fall at or after the deadline is none: the line settles with what is there. */
export function decideRetry({ outcome, attempt, now, deadline, random }: FinishedAttempt): RetryDecision {
  const trouble = troubleOf(outcome);
  if (trouble === null || attempt >= CURVES[trouble].maxAttempts) return SETTLE;
  const delaySeconds = delayAfter(trouble, { outcome, attempt, random });
  const at = new Date(now.getTime() + Math.ceil(delaySeconds * 1000));
  return at < deadline ? { kind: "retry", at } : SETTLE;
}

/** The upstream has too much to do, or is gone: the dispatch window shrinks on it. */
export function isPressure(outcome: Outcome): boolean {
  if (outcome.kind === "unanswered") return outcome.failure.code === "upstream_unreachable";
  return outcome.statusCode === 429 || outcome.statusCode === 503 || outcome.statusCode === 529;
}

/** Null: settled, whatever it is. */
function troubleOf(outcome: Outcome): Trouble | null {
  if (outcome.kind === "unanswered") {
    switch (outcome.failure.code) {
      case "upstream_unreachable":
        return "outage";
      case "request_timeout":
        return "stumble";
      case "response_too_large":
        return null;
    }
  }
  const { statusCode } = outcome;
  if (statusCode === 429) return "congestion";
  if (statusCode === 408 || statusCode === 409) return "stumble";
  if (statusCode < 500) return null;
  if (statusCode === 503 || statusCode === 529) return outcome.retryAfterSeconds === null ? "outage" : "congestion";
  // 520 to 527 and 530: developers.cloudflare.com/support/troubleshooting/http-status-codes/cloudflare-5xx-errors
  if (statusCode === 502 || statusCode === 504 || (statusCode >= 520 && statusCode <= 530)) return "outage";
  return "stumble";
}

function delayAfter(
  trouble: Trouble,
  { outcome, attempt, random }: Pick<FinishedAttempt, "outcome" | "attempt" | "random">,
): number {
  const curve = CURVES[trouble];
  const ceiling = Math.min(curve.mostSeconds, BASE_SECONDS * curve.growth ** (attempt - 1));
  const ownSeconds = ceiling * (curve.fixedShare + (1 - curve.fixedShare) * random);
  const asked = outcome.kind === "answered" ? outcome.retryAfterSeconds : null;
  // Zero asks for nothing: our own curve keeps such lines from a hot loop.
  if (asked === null || asked <= 0) return Math.max(ownSeconds, 0.001);
  const askedSeconds = Math.min(asked, MAX_RETRY_AFTER_SECONDS);
  const spread = random * Math.max(MIN_SPREAD_SECONDS, askedSeconds * SPREAD_SHARE);
  // A short `retry-after` does not use up a budget faster than the curve would.
  return trouble === "congestion" ? askedSeconds + spread : Math.max(askedSeconds + spread, ownSeconds);
}
