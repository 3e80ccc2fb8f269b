/**
 * D1's copy of a live batch, from which it is listed: a new status is written at once, progress now and then. A copy that
 * is late stops no line. With every write the batch also looks at the others on its upstream (share-watch.ts).
 */
import type { BatchRecord, BatchStatus } from "../domain/batch.ts";
import type { UpstreamRoom } from "../domain/dispatching.ts";
import { logFailure } from "../log.ts";
import { saveBatch, saveProgress } from "../stores/batches.ts";
import { openDatabase } from "../stores/schema.ts";
import type { LiveBatch } from "./live-batch.ts";
import { firstRoom, ShareWatch } from "./share-watch.ts";
import { finalOf } from "./state.ts";
import type { BatchStorage, Published } from "./storage.ts";

/** While D1 answers, and few batches share the upstream, the copy of a running batch lags by this at most. */
const MIN_REFRESH_EVERY_MS = 5_000;
/** The more batches run, the longer each waits between two looks at the others: together they ask D1 50 times a second. */
const REFRESH_EVERY_MS_PER_BATCH = 20;
/** A batch that is told of a change looks again this soon after the last time. */
const LOOK_AGAIN_AFTER_MS = 1_000;

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
  readonly #shares = new ShareWatch();
  /** As stored: an object leaves memory after ten seconds of rest. */
  #published: Published;
  /** The status that D1 was last asked to show. */
  #tried: BatchStatus | null = null;
  /** When D1 was last asked, in ms, and the time until it is asked again. */
  #refreshedAt = 0;
  #refreshEveryMs = MIN_REFRESH_EVERY_MS;

  constructor(storage: BatchStorage) {
    this.#storage = storage;
    this.#published = storage.readPublished();
  }

  get nextRefreshAt(): number {
    return this.#refreshedAt + this.#refreshEveryMs;
  }

  /** Another batch has come or gone. */
  expectChange(): void {
    this.#refreshEveryMs = LOOK_AGAIN_AFTER_MS;
  }

  firstRoom(env: Env, record: BatchRecord): UpstreamRoom {
    return firstRoom(env, record, this.#published.shareLines);
  }

  /** Never throws. */
  async refresh(env: Env, live: LiveBatch): Promise<void> {
    const now = new Date();
    const { record, isRunning } = live;
    const shown = this.#published.status;
    const what = planRefresh({
      shown,
      tried: this.#tried,
      status: record.status,
      hasEnded: finalOf(live.stage) !== null,
      isDue: now.getTime() >= this.nextRefreshAt,
    });
    if (what === "nothing") return;
    this.#tried = record.status;
    this.#refreshedAt = now.getTime();
    this.#refreshEveryMs = MIN_REFRESH_EVERY_MS;
    try {
      const db = await openDatabase(env.DB);
      if (what === "status") await saveBatch(db, record);
      const mayShare = isRunning || shown === "in_progress";
      const shareLines = mayShare ? await this.#look(env, db, { live, isNewStatus: what === "status", now }) : null;
      this.#remember({ status: record.status, shareLines });
    } catch (error) {
      logFailure("batch_not_published", { batch: record.id }, error);
    }
  }

  /** @returns the share, in lines. */
  async #look(
    env: Env,
    db: D1Database,
    { live, isNewStatus, now }: { readonly live: LiveBatch; readonly isNewStatus: boolean; readonly now: Date },
  ): Promise<number> {
    const running = await this.#shares.list(db, live, now);
    if (!isNewStatus && !this.#shares.isKnown(running, live, now)) {
      await saveProgress(db, live.record, live.runnableLines(now));
    }
    this.#refreshEveryMs = Math.max(MIN_REFRESH_EVERY_MS, running.length * REFRESH_EVERY_MS_PER_BATCH);
    return this.#shares.look(env, live, { running, isNewStatus, now });
  }

  #remember(published: Published): void {
    const { status, shareLines } = this.#published;
    if (published.status === status && published.shareLines === shareLines) return;
    this.#published = published;
    this.#storage.writePublished(published);
  }
}
