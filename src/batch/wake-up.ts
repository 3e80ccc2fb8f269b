/**
 * An object's one alarm, on which every deadline of its batch hangs. It is only ever moved forward, because setting it is
 * a billed row; after a step that failed it comes again after 1 s, 2 s and so on, at most 60 s.
 */
import { doublingPause } from "../domain/backoff.ts";
import type { BatchStorage } from "./storage.ts";

const MIN_REST_MS = 1_000;
const MAX_REST_MS = 60_000;

export class WakeUp {
  readonly #alarms: DurableObjectStorage;
  /** What is set, in ms; null: nothing, as far as this memory knows. */
  #at: number | null = null;
  /** Before this, in ms, no step is tried again. */
  #restUntil = 0;
  /** Steps that failed in a row. */
  #failures: number;

  constructor(alarms: DurableObjectStorage, storage: BatchStorage) {
    this.#alarms = alarms;
    this.#failures = storage.readFailures();
  }

  /** At this time, in ms, or at the one that is set already if that is earlier. Null: nothing is due. */
  at(time: number | null): void {
    if (time === null) return;
    const at = Math.max(time, this.#restUntil, Date.now());
    if (this.#at !== null && this.#at <= at) return;
    this.#at = at;
    void this.#alarms.setAlarm(at);
  }

  now(): void {
    this.at(Date.now());
  }

  /** Resolves when the alarm is stored. */
  async standBy(time: number): Promise<void> {
    await this.#alarms.setAlarm(time);
  }

  /** The alarm has gone off, or is deleted with all else. */
  forget(): void {
    this.#at = null;
  }

  /** Memory may remember an alarm that is no longer there. */
  async lookUp(): Promise<void> {
    this.#at = await this.#alarms.getAlarm();
  }

  /** What went wrong outside may be over in a moment. */
  restAWhile(): void {
    this.#restUntil = Math.max(this.#restUntil, Date.now() + MIN_REST_MS);
  }

  /** @returns how many steps have failed in a row. */
  noteFailure(storage: BatchStorage): number {
    const earlier = this.#failures;
    this.#failures += 1;
    storage.writeFailures(this.#failures);
    this.#restUntil = Date.now() + doublingPause(MIN_REST_MS, MAX_REST_MS, earlier);
    this.at(this.#restUntil);
    return this.#failures;
  }

  noteSuccess(): void {
    this.#restUntil = 0;
  }

  /** The step has succeeded, and its batch is still there. */
  clearFailures(storage: BatchStorage): void {
    if (this.#failures === 0) return;
    this.#failures = 0;
    storage.writeFailures(0);
  }
}
