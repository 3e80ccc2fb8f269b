/**
 * A clock that jumps from one timer to the next, so that hours of waiting take no time. While it is installed,
 * `Date`, `setTimeout` and `clearTimeout` are its own. It only moves on when everything that is under way has
 * run as far as it can: promises have settled, and work that is `held` (real I/O) has come back.
 */

interface Timer {
  readonly at: number;
  readonly order: number;
  readonly run: () => void;
}

const realDate = Date;
const realSetTimeout = globalThis.setTimeout;
const realClearTimeout = globalThis.clearTimeout;

export class VirtualClock {
  #now: number;
  #order = 0;
  #held = 0;
  /** A binary heap, the earliest on top. */
  readonly #heap: Timer[] = [];
  readonly #live = new Map<number, Timer>();
  readonly #settlePromises: () => Promise<void>;

  /** @param settlePromises resolves when every promise that can settle without I/O has settled. */
  constructor(start: Date, settlePromises: () => Promise<void>) {
    this.#now = start.getTime();
    this.#settlePromises = settlePromises;
  }

  get now(): number {
    return this.#now;
  }

  /** @returns puts back what was there before. */
  install(): () => void {
    const now = () => this.#now;
    const VirtualDate = new Proxy(realDate, {
      construct: (target, args: unknown[], newTarget) =>
        Reflect.construct(target, args.length === 0 ? [now()] : args, newTarget) as object,
      get: (target, name) => (name === "now" ? now : (Reflect.get(target, name) as unknown)),
    });
    const setVirtualTimeout = (run: () => void, delayMs = 0) => this.at(this.#now + Math.max(0, delayMs), run);
    const clearVirtualTimeout = (timer: number | undefined) => this.cancel(timer);
    Object.assign(globalThis, {
      Date: VirtualDate,
      setTimeout: setVirtualTimeout,
      clearTimeout: clearVirtualTimeout,
    });
    return () => {
      Object.assign(globalThis, { Date: realDate, setTimeout: realSetTimeout, clearTimeout: realClearTimeout });
    };
  }

  /** Calls `run` at a time, in milliseconds; those of the same time in the order in which they were set. */
  at(timeMs: number, run: () => void): number {
    this.#order += 1;
    const timer = { at: Math.max(timeMs, this.#now), order: this.#order, run };
    this.#live.set(timer.order, timer);
    this.#push(timer);
    return timer.order;
  }

  cancel(timer: number | undefined): void {
    if (timer !== undefined) this.#live.delete(timer);
  }

  sleep(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      this.at(this.#now + delayMs, resolve);
    });
  }

  /** Time stands still until this work is done. */
  async hold<Value>(work: Promise<Value>): Promise<Value> {
    this.#held += 1;
    try {
      return await work;
    } finally {
      this.#held -= 1;
    }
  }

  /**
   * Turns the clock until `isDone`.
   * @throws Error when there is nothing left to wait for.
   */
  async runUntil(isDone: () => boolean): Promise<void> {
    await this.#settle();
    while (!isDone()) {
      const next = this.#pop();
      if (next === null) throw new Error("nothing is left to wait for, and the work is not done");
      this.#now = Math.max(this.#now, next.at);
      next.run();
      await this.#settle();
    }
  }

  async #settle(): Promise<void> {
    await this.#settlePromises();
    while (this.#held > 0) {
      await new Promise((resolve) => {
        realSetTimeout(resolve, 0);
      });
      // What has just come back may start something new before it lets go.
      if (this.#held === 0) await this.#settlePromises();
    }
  }

  #push(timer: Timer): void {
    const heap = this.#heap;
    let at = heap.push(timer) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = heap[parent];
      if (above === undefined || isEarlier(above, timer)) break;
      heap[at] = above;
      heap[parent] = timer;
      at = parent;
    }
  }

  /** The earliest timer that was not cancelled. */
  #pop(): Timer | null {
    for (;;) {
      const first = this.#heap[0];
      const last = this.#heap.pop();
      if (first === undefined || last === undefined) return null;
      if (this.#heap.length > 0) this.#sink(last);
      if (this.#live.delete(first.order)) return first;
    }
  }

  #sink(timer: Timer): void {
    const heap = this.#heap;
    let at = 0;
    for (;;) {
      const left = heap[2 * at + 1];
      const right = heap[2 * at + 2];
      const isRight = right !== undefined && left !== undefined && isEarlier(right, left);
      const child = isRight ? right : left;
      if (child === undefined || isEarlier(timer, child)) break;
      heap[at] = child;
      at = 2 * at + (isRight ? 2 : 1);
    }
    heap[at] = timer;
  }
}

function isEarlier(a: Timer, b: Timer): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}
