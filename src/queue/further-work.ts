/**
 * Takes on dispatches of other batches beside those that an invocation works for, while it has idle slots: at a batch's tail
 * its consumer would have one line in flight for up to a minute, and all others wait (docs/decisions/shared-consumers.md).
 * That nothing is found, or nobody answers, harms nothing.
 */
import type { NextClaim } from "../domain/conversation.ts";
import { logFailure } from "../log.ts";
import type { Invocation } from "./invocation.ts";

type Claimed = NonNullable<NextClaim>;

export interface WorkPlaces {
  readonly invocation: Invocation;
  /** In ms: no dispatch is taken on after this. */
  readonly until: number;
  /** Asks the pacer for a batch. */
  readonly findWork: (slots: number) => Promise<string | null>;
  readonly claimNext: (batchId: string, slots: number) => Promise<NextClaim>;
  /** Works for a dispatch. Never rejects. */
  readonly work: (claimed: Claimed) => Promise<void>;
}

/** It asks at most this often, and less often when it hears that there is nothing, or hears nothing. */
const ASKS_EVERY_MS = 1_000;
const NOTHING_FOUND_MS = 2_000;
const FAILED_MS = 10_000;
/** Of batches that turn out to have nothing, since others were there first. */
const MOST_BATCHES_ASKED = 3;

export class FurtherWork {
  readonly #places: WorkPlaces;
  /** Dispatches that are worked for. */
  #running = 0;
  /** Resolved when there is none. */
  #over = Promise.withResolvers<void>();
  /** In ms. */
  #asksAt = 0;

  constructor(places: WorkPlaces) {
    this.#places = places;
  }

  /** Resolves when the first dispatch is over, and those that were taken on beside it. */
  async runBeside(first: Promise<void>): Promise<void> {
    this.#follow(first);
    while (this.#running > 0) {
      await this.#rest();
      if (this.#running > 0 && this.#mayAsk()) await this.#takeOn();
    }
  }

  #follow(work: Promise<void>): void {
    if (this.#running === 0) this.#over = Promise.withResolvers();
    this.#running += 1;
    void work.finally(() => {
      this.#running -= 1;
      if (this.#running === 0) this.#over.resolve();
    });
  }

  async #rest(): Promise<void> {
    const pause = Promise.withResolvers<void>();
    const timer = setTimeout(pause.resolve, ASKS_EVERY_MS);
    await Promise.race([pause.promise, this.#over.promise]);
    clearTimeout(timer);
  }

  #mayAsk(): boolean {
    const now = Date.now();
    const { invocation, until } = this.#places;
    return now >= this.#asksAt && now < until && invocation.isRoomWanted && invocation.idleSlots > 0;
  }

  async #takeOn(): Promise<void> {
    try {
      const claimed = await this.#find();
      this.#asksAt = Date.now() + (claimed === null ? NOTHING_FOUND_MS : 0);
      if (claimed !== null) this.#follow(this.#places.work(claimed));
    } catch (error) {
      // Also a coordinator, or a pacer, of an older Worker, which cannot be asked so.
      this.#asksAt = Date.now() + FAILED_MS;
      logFailure("work_not_found", {}, error);
    }
  }

  async #find(): Promise<Claimed | null> {
    const { invocation, findWork, claimNext } = this.#places;
    for (let asked = 0; asked < MOST_BATCHES_ASKED; asked += 1) {
      const batchId = await findWork(invocation.idleSlots);
      const slots = invocation.idleSlots;
      if (batchId === null || slots === 0) return null;
      const claimed = await claimNext(batchId, slots);
      // A coordinator may know less of the invocation than this one knows.
      if (claimed !== null) return { ...claimed, slots: Math.min(claimed.slots, slots) };
    }
    return null;
  }
}
