/** Lines that a consumer has and that are not in flight: ready to be sent, or waiting to be tried again. */
import type { ReadyLine } from "./slice-lines.ts";

export class HeldLines {
  /** In the order in which they are sent. */
  #ready: ReadyLine[] = [];
  /** Each with the timer that makes it ready. */
  readonly #waiting = new Map<ReadyLine, ReturnType<typeof setTimeout>>();

  get size(): number {
    return this.#ready.length + this.#waiting.size;
  }

  /** Of their request bodies. */
  get characters(): number {
    return [...this.#ready, ...this.#waiting.keys()].reduce((sum, { body }) => sum + body.length, 0);
  }

  add(lines: readonly ReadyLine[]): void {
    this.#ready.push(...lines);
  }

  /** Of the body of the next line to send; null when none is ready. */
  get nextCharacters(): number | null {
    return this.#ready[0]?.body.length ?? null;
  }

  /** The next line to send; null when none is ready. */
  next(): ReadyLine | null {
    return this.#ready.shift() ?? null;
  }

  /** The line keeps no slot while it waits. @param onReady called when it may be tried again. */
  wait(line: ReadyLine, delayMs: number, onReady: () => void): void {
    const timer = setTimeout(() => {
      this.#waiting.delete(line);
      this.#ready.push(line);
      onReady();
    }, delayMs);
    this.#waiting.set(line, timer);
  }

  /** Takes all of them out. */
  takeAll(): readonly ReadyLine[] {
    for (const timer of this.#waiting.values()) clearTimeout(timer);
    const lines = [...this.#ready, ...this.#waiting.keys()];
    this.#ready = [];
    this.#waiting.clear();
    return lines;
  }
}
