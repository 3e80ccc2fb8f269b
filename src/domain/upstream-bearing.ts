/**
 * What an upstream bears, as the answers to all batches say: the in-flight limit, and the breaker that pauses it. Pure: what
 * has to survive a restart is the caller's to store.
 */
import { type AnswersHeard, type Breaker, CLOSED, observeAnswers, type Pause } from "./breaker.ts";
import { MAX_RETRY_AFTER_SECONDS } from "./retry-policy.ts";
import type { RateLimits } from "./rate-budget.ts";
import { adjustLimit, allowedBy, type InFlightLimit, restartLimit, startLimit } from "./in-flight-limit.ts";

/** The upstream's settings, as far as they pace. */
export interface PacedUpstream {
  /** Lines of all batches together; 0: the upstream is gone from the settings, and its batches wait until it is back. */
  readonly maxInFlight: number;
  readonly linesPerInvocation: number;
  /** Budgets a minute. */
  readonly limits: RateLimits;
}

/** What is stored, so that a restart does not begin anew. */
export interface BearingMemory {
  readonly limit: InFlightLimit;
  readonly pause: Pause | null;
}

interface Asked {
  readonly upstream: PacedUpstream;
  /** Lines of all batches that could be in flight. */
  readonly wantedLines: number;
  readonly now: Date;
}

/** Some line was answered with success within this time: what is refused now is not refused to all. */
const SERVED_LATELY_MS = 600_000;
/** Beyond it the limit counts as used. */
const USED_FRACTION = 0.75;

export class UpstreamBearing {
  #limit: InFlightLimit;
  #breaker: Breaker;
  /** When a line was last answered well, and with success, in ms. In memory alone. */
  #servedAt: number | null = null;
  #succeededAt: number | null = null;
  /** An upstream that asked for patience is pressed no harder before this, in ms. */
  #growsFrom = 0;

  constructor(maxInFlight: number, memory: BearingMemory | null) {
    this.#limit = memory?.limit ?? startLimit(maxInFlight);
    this.#breaker = { ...CLOSED, pause: memory?.pause ?? null };
  }

  get memory(): BearingMemory {
    return { limit: this.#limit, pause: this.pause };
  }

  get pause(): Pause | null {
    return this.#breaker.pause;
  }

  get servedAt(): number | null {
    return this.#servedAt;
  }

  /** Lines that may be in flight now. In a pause the one that probes. */
  allowedLines({ maxInFlight }: PacedUpstream): number {
    return Math.min(this.pause === null ? allowedBy(this.#limit) : 1, maxInFlight);
  }

  /** Nobody has used it for a while: a pause is found out anew, and is not as long as it was. */
  begin(now: Date): void {
    const { pause } = this;
    if (pause === null) return;
    const at = now.getTime();
    this.#breaker = { ...CLOSED, pause: { ...pause, since: at, probeAt: at, seconds: 0 } };
  }

  observe(heard: AnswersHeard, { upstream, wantedLines, now }: Asked): void {
    const at = now.getTime();
    if (heard.fine > 0) this.#servedAt = at;
    if (heard.succeeded > 0) this.#succeededAt = at;
    const before = this.pause;
    const hasServed = this.#succeededAt !== null && at < this.#succeededAt + SERVED_LATELY_MS;
    const linesInFlight = Math.min(allowedBy(this.#limit), Math.max(1, wantedLines));
    this.#breaker = observeAnswers(this.#breaker, heard, { linesInFlight, hasServed, now });
    if (this.pause !== null) {
      if (before === null) this.#limit = restartLimit(this.#limit);
      return;
    }
    const asked = Math.min(heard.retryAfterSeconds ?? 0, MAX_RETRY_AFTER_SECONDS);
    if (asked > 0) this.#growsFrom = Math.max(this.#growsFrom, at + asked * 1000);
    this.#limit = adjustLimit(this.#limit, {
      fine: heard.fine + heard.refused + heard.stumble,
      // Lines that were in flight before a pause say nothing new.
      pressured: before === null ? heard.busy + heard.away : 0,
      mostLines: Math.max(1, upstream.maxInFlight),
      isUsed: at >= this.#growsFrom && wantedLines >= USED_FRACTION * allowedBy(this.#limit),
    });
  }
}
