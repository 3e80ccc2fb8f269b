/**
 * A model of an upstream's timing: how long an answer takes, and how many requests it accepts at once or per second.
 * It takes the place of `fetch`. The answer is always the one it was given; the request is not read.
 */
import type { Random } from "../random.ts";
import type { VirtualClock } from "./virtual-clock.ts";

export interface UpstreamOptions {
  readonly clock: VirtualClock;
  readonly random: Random;
  readonly drawLatencyMs: (random: Random) => number;
  /** The body of a good answer. */
  readonly answer: string;
  /** More requests at once than this are answered 429; null: any number. */
  readonly capacity: number | null;
  /** More requests a second than this are answered 429, beyond a burst of one second; null: any number. */
  readonly capacityPerSecond: number | null;
  /** Sent along with a 429; null: nothing is. */
  readonly retryAfterSeconds: number | null;
}

export interface UpstreamCounts {
  readonly requests: number;
  readonly refused: number;
  /** Time spent on good answers, summed over requests. */
  readonly busyMs: number;
  readonly mostInFlight: number;
}

const REFUSAL_MS = 50;
const REFUSAL = JSON.stringify({ error: { message: "Rate limit reached.", type: "requests", code: "rate_limit" } });

export class UpstreamModel {
  readonly #options: UpstreamOptions;
  #inFlight = 0;
  #tokens: number;
  #filledAt: number;
  readonly #counts = { requests: 0, refused: 0, busyMs: 0, mostInFlight: 0 };

  constructor(options: UpstreamOptions) {
    this.#options = options;
    this.#tokens = options.capacityPerSecond ?? 0;
    this.#filledAt = options.clock.now;
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  get counts(): UpstreamCounts {
    return { ...this.#counts };
  }

  async fetch(): Promise<Response> {
    const { clock, random, answer, drawLatencyMs, retryAfterSeconds } = this.#options;
    this.#counts.requests += 1;
    if (!this.#takesOneMore()) {
      this.#counts.refused += 1;
      await clock.sleep(REFUSAL_MS);
      return reply(429, REFUSAL, retryAfterSeconds);
    }
    const latencyMs = drawLatencyMs(random);
    this.#inFlight += 1;
    this.#counts.mostInFlight = Math.max(this.#counts.mostInFlight, this.#inFlight);
    await clock.sleep(latencyMs);
    this.#inFlight -= 1;
    this.#counts.busyMs += latencyMs;
    return reply(200, answer, null);
  }

  #takesOneMore(): boolean {
    const { clock, capacity, capacityPerSecond } = this.#options;
    if (capacity !== null && this.#inFlight >= capacity) return false;
    if (capacityPerSecond === null) return true;
    const refill = ((clock.now - this.#filledAt) / 1000) * capacityPerSecond;
    this.#tokens = Math.min(capacityPerSecond, this.#tokens + refill);
    this.#filledAt = clock.now;
    if (this.#tokens < 1) return false;
    this.#tokens -= 1;
    return true;
  }
}

const encoder = new TextEncoder();

/** The part of a Response that is read: a real one costs more than everything that is to be measured. */
function reply(status: number, text: string, retryAfterSeconds: number | null): Response {
  const headers = new Map([["x-request-id", "req_simulated"]]);
  if (retryAfterSeconds !== null) headers.set("retry-after", String(retryAfterSeconds));
  let bytes: Uint8Array | null = encoder.encode(text);
  const reader = {
    read: () => {
      const value = bytes;
      bytes = null;
      return Promise.resolve(value === null ? { done: true, value: undefined } : { done: false, value });
    },
  };
  const response = {
    status,
    headers: { get: (name: string) => headers.get(name) ?? null },
    body: { getReader: () => reader },
  };
  return response as unknown as Response;
}
