/**
 * What all dispatches of one invocation of the consumer have together: slots for lines, memory, and the way to R2. The
 * platform gives an invocation six connections (developers.cloudflare.com/workers/platform/limits/#simultaneous-open-connections):
 * its lines have five of them, and one call to R2 at a time the sixth.
 */
import { type LineRoom, MemoryBudget } from "../domain/memory-budget.ts";

/** A dispatch that the invocation works for. */
export interface Sharer {
  /** Lines that it has in flight, or could have at once. */
  readonly neededSlots: number;
  /** Other batches wait for slots that nobody uses. */
  readonly isRoomWanted: boolean;
  /** A slot, or memory, has become free. */
  readonly launch: () => void;
}

/** After this no line is started: a slow upstream's dispatch is worth its price by then. */
const STARTS_LINES_FOR_MS = 270_000;
/** developers.cloudflare.com/queues/platform/limits: 15 minutes, less a little to report and end. */
const MAX_INVOCATION_MS = 870_000;

export class Invocation {
  readonly startedAt = Date.now();
  readonly #slots: number;
  readonly #memory = new MemoryBudget();
  /** Those that it works for now, the first one first, each with the bytes of results that it has not stored. */
  readonly #sharers = new Map<Sharer, number>();
  /** Lines in flight, of all of them. */
  #running = 0;
  /** Settles when R2 is free. */
  #storage: Promise<void> = Promise.resolve();

  constructor(slots: number) {
    this.#slots = slots;
  }

  join(sharer: Sharer): void {
    this.#sharers.set(sharer, 0);
  }

  leave(sharer: Sharer): void {
    this.#sharers.delete(sharer);
    this.#noteUnstored();
    this.#launch();
  }

  /** Slots that no dispatch needs. */
  get idleSlots(): number {
    return Math.max(0, this.#slots - this.#neededBesides(null));
  }

  /** Slots that the others leave to this one. */
  slotsFor(sharer: Sharer): number {
    return Math.max(1, this.#slots - this.#neededBesides(sharer));
  }

  get isRoomWanted(): boolean {
    return [...this.#sharers.keys()].some(({ isRoomWanted }) => isRoomWanted);
  }

  /** In ms: when the last line starts. With the upstream's timeout behind it, the invocation still ends in time. */
  startsUntil(timeoutSeconds: number): number {
    return this.startedAt + Math.min(STARTS_LINES_FOR_MS, MAX_INVOCATION_MS - timeoutSeconds * 1000);
  }

  /** Whether a line with such a request body may start. */
  hasRoomFor(bodyBytes: number): boolean {
    return this.#running < this.#slots && this.#memory.hasRoomFor(bodyBytes);
  }

  /** A line starts. Its slot is free again when its room is closed. */
  startLine(bodyBytes: number): LineRoom {
    this.#running += 1;
    const { reserve, close } = this.#memory.start(bodyBytes);
    return {
      reserve,
      close: () => {
        this.#running -= 1;
        close();
        this.#launch();
      },
    };
  }

  /** @param bytes of the dispatch's results that are finished, or being stored. */
  noteUnstored(sharer: Sharer, bytes: number): void {
    if (this.#sharers.has(sharer)) this.#sharers.set(sharer, bytes);
    this.#noteUnstored();
  }

  /** Makes calls to R2 one after another. @throws what the call throws. */
  async inTurn<Value>(call: () => Promise<Value>): Promise<Value> {
    const before = this.#storage;
    const turn = Promise.withResolvers<void>();
    this.#storage = turn.promise;
    await before;
    try {
      return await call();
    } finally {
      turn.resolve();
    }
  }

  #neededBesides(one: Sharer | null): number {
    return [...this.#sharers.keys()].reduce((sum, other) => sum + (other === one ? 0 : other.neededSlots), 0);
  }

  #noteUnstored(): void {
    this.#memory.noteUnstored([...this.#sharers.values()].reduce((sum, bytes) => sum + bytes, 0));
  }

  #launch(): void {
    for (const sharer of this.#sharers.keys()) sharer.launch();
  }
}
