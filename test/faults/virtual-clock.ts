/**
 * The clock of a fault run: `Date` and timers do not move until the run moves them. Real I/O goes on meanwhile,
 * and takes no virtual time.
 */
import { AsyncLocalStorage } from "node:async_hooks";
import { vi } from "vitest";

interface Timer {
  readonly at: number;
  readonly run: () => void;
}

/** Timers are due at whole ticks, so that some are due together. */
const TICK_MS = 100;

const realSetTimeout = globalThis.setTimeout;

export class VirtualClock {
  readonly #timers = new Map<number, Timer>();
  #lastId = 0;

  start(now: number): void {
    vi.useFakeTimers({ toFake: ["Date"], now });
    vi.stubGlobal("setTimeout", (run: () => void, delayMs = 0) => {
      const inContext = AsyncLocalStorage.snapshot();
      return this.schedule(Date.now() + delayMs, () => inContext(run));
    });
    vi.stubGlobal("clearTimeout", (id: number | undefined) => this.#timers.delete(id ?? 0));
  }

  stop(): void {
    this.#timers.clear();
    vi.unstubAllGlobals();
    vi.useRealTimers();
  }

  schedule(at: number, run: () => void): number {
    this.#lastId += 1;
    this.#timers.set(this.#lastId, { at: Math.ceil(at / TICK_MS) * TICK_MS, run });
    return this.#lastId;
  }

  /** When the next timer is due; null when there is none. */
  get nextAt(): number | null {
    const times = [...this.#timers.values()].map(({ at }) => at);
    return times.length === 0 ? null : Math.min(...times);
  }

  /** Never backwards. Runs the timers that are due then. */
  moveTo(time: number): void {
    if (time > Date.now()) vi.setSystemTime(time);
    const due = [...this.#timers].filter(([, { at }]) => at <= Date.now()).toSorted(([, a], [, b]) => a.at - b.at);
    for (const [id, { run }] of due) {
      if (this.#timers.delete(id)) run();
    }
  }
}

/** Lets everything that waits for nothing but its turn go on. */
export function yieldToOthers(): Promise<void> {
  return new Promise((resolve) => {
    realSetTimeout(resolve, 0);
  });
}
