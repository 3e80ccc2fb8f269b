/**
 * D1's copy of a live batch, from which it is listed: a new status is written at once, progress now and then. A copy that
 * is late stops no line.
 */
import type { BatchStatus, RequestCounts } from "../domain/batch.ts";
import { logFailure } from "../log.ts";
import { saveBatch, saveProgress } from "../stores/batches.ts";
import { openDatabase } from "../stores/schema.ts";
import type { LiveBatch } from "./live-batch.ts";
import { finalOf } from "./state.ts";
import type { BatchStorage } from "./storage.ts";

/** While D1 answers, the copy of a running batch lags by this at most. */
const REFRESH_EVERY_MS = 8_000;
/** What is due within this time is done with whatever wakes the object: an alarm costs a row. */
const TOGETHER_MS = 1_000;

export interface CopyState {
  /** What D1 is known to show; null before it shows anything. */
  readonly shown: BatchStatus | null;
  /** The status that D1 was last asked to show, whatever came of it. */
  readonly tried: BatchStatus | null;
  readonly status: BatchStatus;
  /** The batch has ended: its final status is published together with its files. */
  readonly hasEnded: boolean;
  /** The time between two refreshes is over. */
  readonly isDue: boolean;
}

/** What to write now: a new status once at once and then whenever it is due, progress whenever it is due. */
export function planRefresh({ shown, tried, status, hasEnded, isDue }: CopyState): "nothing" | "status" | "progress" {
  if (hasEnded) return "nothing";
  if (status !== shown) return isDue || status !== tried ? "status" : "nothing";
  return shown === "in_progress" && isDue ? "progress" : "nothing";
}

export class BatchCopy {
  readonly #storage: BatchStorage;
  /** What D1 shows, as stored: an object leaves memory after ten seconds of rest. */
  #shown: BatchStatus | null;
  /** The status that D1 was last asked to show. */
  #tried: BatchStatus | null = null;
  /** The counts that D1 shows; null: this memory does not know them. */
  #counts: RequestCounts | null = null;
  /** When D1 was last asked, in ms. */
  #refreshedAt = 0;

  constructor(storage: BatchStorage) {
    this.#storage = storage;
    this.#shown = storage.readShownStatus();
  }

  /** When the copy is due, in ms; null: it shows what is true. */
  nextRefreshAt({ record }: LiveBatch): number | null {
    const isTrue = record.status === this.#shown && isSame(record.counts, this.#counts);
    return isTrue ? null : this.#refreshedAt + REFRESH_EVERY_MS;
  }

  /** Never throws. */
  async refresh(env: Env, live: LiveBatch): Promise<void> {
    const now = Date.now();
    const { record } = live;
    const { status, counts } = record;
    const what = planRefresh({
      shown: this.#shown,
      tried: this.#tried,
      status,
      hasEnded: finalOf(live.stage) !== null,
      isDue: now >= this.#refreshedAt + REFRESH_EVERY_MS - TOGETHER_MS,
    });
    if (what === "nothing" || (what === "progress" && isSame(counts, this.#counts))) return;
    this.#tried = status;
    this.#refreshedAt = now;
    try {
      const db = await openDatabase(env.DB);
      if (what === "status") await saveBatch(db, record);
      else await saveProgress(db, record);
      this.#counts = counts;
      this.#remember(status);
    } catch (error) {
      logFailure("batch_not_published", { batch: record.id }, error);
    }
  }

  #remember(status: BatchStatus): void {
    if (this.#shown === status) return;
    this.#shown = status;
    this.#storage.writeShownStatus(status);
  }
}

function isSame(counts: RequestCounts, known: RequestCounts | null): boolean {
  return counts.total === known?.total && counts.completed === known.completed && counts.failed === known.failed;
}
