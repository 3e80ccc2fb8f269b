/**
 * The coordinator of one batch, and its only writer: the RPC methods that http and queue call, and the alarm
 * that drives the batch from one status to the next. What it knows lives in `LiveBatch`; here is the I/O:
 * validating the input, sending dispatches, writing result files, publishing to D1, cleaning up.
 *
 * Every step can be repeated. A step that fails is tried again by the alarm, with growing delays, so that no
 * crash, restart or lost message strands the batch.
 */
import { DurableObject } from "cloudflare:workers";
import { settingsOf } from "../config.ts";
import { type BatchRecord, type BatchStatus, type LineProblem, move } from "../domain/batch.ts";
import type { Claim, Dispatch, Orders, Report } from "../domain/dispatch.ts";
import { ENDPOINTS } from "../domain/endpoints.ts";
import { cutSlices } from "../domain/slices.ts";
import { logEvent, logFailure, type LogFields } from "../log.ts";
import { countLiveBatches, finalizeBatch, isInputHeld, saveBatch } from "../stores/batches.ts";
import { findInputFile, isFileHidden, removeFile } from "../stores/files.ts";
import { chunkPrefix, fileKey } from "../stores/object-keys.ts";
import { openDatabase } from "../stores/schema.ts";
import { writeResultFiles } from "./finalize.ts";
import type { FinalState } from "./ledger-rows.ts";
import { LedgerStore } from "./ledger-store.ts";
import { LiveBatch, type Share } from "./live-batch.ts";
import { writeUnexecutedLines } from "./unexecuted.ts";
import { validateInput } from "./validate.ts";

export interface StartOrder {
  /** Status `validating`. */
  readonly batch: BatchRecord;
  /** The provider's own key, encrypted; null when the configured key is used. */
  readonly sealedKey: string | null;
}

export type StartResult =
  | { readonly ok: true; readonly batch: BatchRecord }
  | { readonly ok: false; readonly reason: "unavailable" };

export type CancelResult =
  | { readonly ok: true; readonly batch: BatchRecord }
  | { readonly ok: false; readonly reason: "past_cancelling"; readonly status: BatchStatus }
  | { readonly ok: false; readonly reason: "gone" };

/** D1's copy of a running batch lags by this at most. */
const PUBLISH_EVERY_MS = 5_000;
/** While `start` waits for D1, this alarm stands by: a crash then leaves no batch that nothing wakes. */
const START_PATIENCE_MS = 30_000;
const MAX_BACKOFF_MS = 60_000;
/** Ours: `sendBatch` takes 100 messages (developers.cloudflare.com/queues/platform/limits). */
const MESSAGES_PER_SEND = 100;
/** R2 deletes 1,000 keys a call. */
const KEYS_PER_DELETE = 1000;

export class BatchCoordinator extends DurableObject<Env> {
  readonly #store: LedgerStore;
  /** Undefined until it is read; null when there is no batch. */
  #live: LiveBatch | null | undefined;
  #isStarting = false;
  #alarmAt: number | null = null;
  #failures = 0;
  /** After a failed step nothing is done before this. */
  #restUntil = 0;
  #publishedAt = 0;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    this.#store = new LedgerStore(ctx.storage);
  }

  /** Takes the batch on: persists it, lists it in D1, and goes to work. */
  async start({ batch, sealedKey }: StartOrder): Promise<StartResult> {
    this.#isStarting = true;
    try {
      this.#store.createTables();
      this.#store.writeBatch({ record: batch, sealedKey, ending: null, endsBy: null, final: null });
      await this.ctx.storage.setAlarm(Date.now() + START_PATIENCE_MS);
      await saveBatch(await openDatabase(this.env.DB), batch);
    } catch (error) {
      logFailure("batch_not_started", { batch: batch.id }, error);
      await this.#wipe();
      return { ok: false, reason: "unavailable" };
    } finally {
      this.#isStarting = false;
    }
    logEvent("batch_status", { batch: batch.id, tenant: batch.tenant, status: batch.status });
    this.#wakeAt(Date.now());
    return { ok: true, batch };
  }

  /** The batch as it is now; null when it is not here any more: D1 has its final copy. */
  snapshot(): BatchRecord | null {
    return this.#load()?.record ?? null;
  }

  cancel(): CancelResult {
    const live = this.#load();
    if (live === null) return { ok: false, reason: "gone" };
    const { record, state } = live;
    if (record.status === "cancelling" || record.status === "cancelled") return { ok: true, batch: record };
    const status = state.final?.record.status ?? (state.ending === "expired" ? "expired" : record.status);
    if ((status !== "validating" && status !== "in_progress") || state.ending !== null) {
      return { ok: false, reason: "past_cancelling", status };
    }
    live.endEarly("cancelled", new Date());
    this.#logStatus(live.record);
    this.#wakeAt(Date.now());
    return { ok: true, batch: live.record };
  }

  claim(token: string): Claim {
    return this.#load()?.claim(token, new Date()) ?? { kind: "unknown" };
  }

  report(report: Report): Orders {
    const live = this.#load();
    if (live === null) return { kind: "unknown" };
    const orders = live.report(report, new Date());
    const needsWork = live.state.ending !== null || live.isStarved(new Date());
    this.#wakeAt(needsWork ? Date.now() : live.nextWakeAt(new Date()));
    return orders;
  }

  /** The queue gave up on a dispatch: its place is free for another, after a pause. */
  deadLettered(token: string): void {
    const live = this.#load();
    if (live === null) return;
    live.forgetDispatches([token]);
    this.#wakeAt(Date.now() + MAX_BACKOFF_MS);
  }

  override async alarm(): Promise<void> {
    this.#alarmAt = null;
    if (this.#isStarting) return this.#wakeAt(Date.now() + START_PATIENCE_MS);
    try {
      const live = this.#load();
      if (live === null) return;
      await this.#advance(live);
      this.#failures = 0;
      this.#restUntil = 0;
      if (this.#load() !== null) this.#wakeAt(this.#nextWakeAt(live));
    } catch (error) {
      this.#failures += 1;
      this.#restUntil = Date.now() + Math.min(MAX_BACKOFF_MS, 500 * 2 ** this.#failures);
      logFailure("batch_step_failed", { batch: this.ctx.id.name ?? null, failures: this.#failures }, error);
      this.#wakeAt(this.#restUntil);
    }
  }

  /** One pass: whatever is due for the batch in its present state. */
  async #advance(live: LiveBatch): Promise<void> {
    if (live.state.final !== null) return this.#conclude(live, live.state.final);
    if (live.state.ending === null && live.record.expiresAt <= new Date()) live.endEarly("expired", new Date());
    if (live.record.status === "validating" && live.state.ending === null) await this.#validate(live);
    live.lapse(new Date());
    if (live.isRunning) {
      await this.#publishProgress(live);
      await this.#sendDispatches(live);
    }
    if (live.isDrained(new Date())) await this.#finalize(live);
    if (live.state.final !== null) await this.#conclude(live, live.state.final);
  }

  async #validate(live: LiveBatch): Promise<void> {
    const { record } = live;
    const startedAt = Date.now();
    const db = await openDatabase(this.env.DB);
    const file = await findInputFile(db, record);
    const object = file === null ? null : await this.env.BUCKET.get(fileKey(file.id));
    if (file === null || object === null || file.purpose !== "batch") {
      const message = `Cannot find file ${record.inputFileId}, or organization ${record.tenant} does not have access to it.`;
      if (live.record.status !== "validating") return;
      return live.refuseInput([{ code: "invalid_request", message, param: "file_id", line: null }], new Date());
    }
    const endpoint = ENDPOINTS[record.endpoint];
    if (endpoint === undefined) throw new Error(`there is no endpoint ${record.endpoint}`);
    const verdict = await validateInput({
      body: object.body,
      rules: {
        path: record.endpoint,
        endpoint,
        models: settingsOf(this.env).upstreams.get(record.upstream)?.models ?? null,
        maxLines: settingsOf(this.env).maxLinesPerBatch,
      },
      goesOn: () => live.record.status === "validating",
    });
    if (verdict === null) return;
    if (!verdict.ok) return live.refuseInput(verdict.reason, new Date());
    const { lineStarts, end, model } = verdict.value;
    live.acceptInput(cutSlices(lineStarts, end), model, new Date());
    this.#logStatus(live.record, { bytes: file.bytes, validation_ms: Date.now() - startedAt });
  }

  /** Writes D1's copy when it is old, and learns how many batches share the upstream. */
  async #publishProgress(live: LiveBatch): Promise<void> {
    if (Date.now() < this.#publishedAt + PUBLISH_EVERY_MS) return;
    this.#publishedAt = Date.now();
    const db = await openDatabase(this.env.DB);
    await saveBatch(db, live.record);
    live.share = this.#shareAmong(live.record, await countLiveBatches(db, live.record.upstream));
  }

  async #sendDispatches(live: LiveBatch): Promise<void> {
    const batchId = live.record.id;
    const tokens = live.planDispatches(() => crypto.randomUUID(), new Date());
    for (let from = 0; from < tokens.length; from += MESSAGES_PER_SEND) {
      const messages = tokens
        .slice(from, from + MESSAGES_PER_SEND)
        .map((token) => ({ body: { batchId, token } satisfies Dispatch }));
      try {
        await this.env.DISPATCHES.sendBatch(messages);
      } catch (error) {
        live.forgetDispatches(tokens.slice(from));
        throw error;
      }
    }
  }

  /** Every line that was not executed gets its error line; then the files are written. */
  async #finalize(live: LiveBatch): Promise<void> {
    const { ending } = live.state;
    const { id, inputFileId } = live.record;
    if (ending === null) return;
    live.stopWaiting();
    const bucket = this.env.BUCKET;
    if (live.unsettledLines > 0 && ending !== "completed") {
      const reason = UNEXECUTED_REASONS[ending];
      const slices = live.unsettledSlices();
      for await (const chunk of writeUnexecutedLines({
        bucket,
        batchId: id,
        inputFileId,
        reason,
        slices,
        now: new Date(),
      })) {
        live.settleUnexecuted(chunk);
      }
    }
    const now = new Date();
    const { output, error } = await writeResultFiles(
      bucket,
      live.record,
      live.chunks(),
      live.record.times.finalizingAt ?? now,
    );
    const errors = ending === "failed" ? [missingInput(inputFileId)] : null;
    live.planFinal({
      record: {
        ...move(live.record, ending, now),
        outputFileId: output?.id ?? null,
        errorFileId: error?.id ?? null,
        errors,
      },
      files: [output, error].filter((file) => file !== null),
    });
  }

  /** The end: shown to clients, then everything the batch no longer needs is removed, the object itself last. */
  async #conclude(live: LiveBatch, { record, files }: FinalState): Promise<void> {
    const db = await openDatabase(this.env.DB);
    await finalizeBatch(db, record, files);
    live.markPublished();
    this.#logStatus(record);
    await deleteChunks(this.env.BUCKET, record.id);
    if ((await isFileHidden(db, record.inputFileId)) && !(await isInputHeld(db, record.inputFileId, record.id))) {
      await removeFile(db, this.env.BUCKET, record.inputFileId);
    }
    await this.#wipe();
  }

  async #wipe(): Promise<void> {
    this.#live = null;
    this.#alarmAt = null;
    await this.ctx.storage.deleteAlarm();
    await this.ctx.storage.deleteAll();
  }

  #load(): LiveBatch | null {
    if (this.#live !== undefined) return this.#live;
    const state = this.#store.exists() ? this.#store.readBatch() : null;
    this.#live =
      state === null ? null : new LiveBatch(this.#store, state, this.#shareAmong(state.record, 1), new Date());
    return this.#live;
  }

  /** Batches that share an upstream share what it may have in flight. An upstream that is gone from the settings gets little. */
  #shareAmong({ upstream }: BatchRecord, liveBatches: number): Share {
    const { upstreams, linesPerInvocation } = settingsOf(this.env);
    const maxInFlight = upstreams.get(upstream)?.maxInFlight ?? 1;
    return { windowCap: Math.max(1, Math.floor(maxInFlight / Math.max(1, liveBatches))), linesPerInvocation };
  }

  #nextWakeAt(live: LiveBatch): number | null {
    const dueAt = live.nextWakeAt(new Date());
    if (!live.isRunning) return dueAt;
    return Math.min(dueAt ?? Infinity, this.#publishedAt + PUBLISH_EVERY_MS);
  }

  /** There is one alarm: it is only ever moved forward. Setting it is a billed row. */
  #wakeAt(time: number | null): void {
    if (time === null || !Number.isFinite(time)) return;
    const at = Math.max(time, this.#restUntil, Date.now());
    if (this.#alarmAt !== null && this.#alarmAt <= at) return;
    this.#alarmAt = at;
    void this.ctx.storage.setAlarm(at);
  }

  #logStatus(batch: BatchRecord, more: LogFields = {}): void {
    const { total, completed, failed } = batch.counts;
    logEvent("batch_status", {
      batch: batch.id,
      tenant: batch.tenant,
      status: batch.status,
      total,
      completed,
      failed,
      ...more,
    });
  }
}

const UNEXECUTED_REASONS = {
  cancelled: "batch_cancelled",
  expired: "batch_expired",
  failed: "input_file_unavailable",
} as const;

function missingInput(fileId: string): LineProblem {
  return {
    code: "invalid_request",
    message: `The bytes of file ${fileId} are no longer available.`,
    param: "file_id",
    line: null,
  };
}

async function deleteChunks(bucket: R2Bucket, batchId: string): Promise<void> {
  for (;;) {
    const { objects, truncated } = await bucket.list({ prefix: chunkPrefix(batchId), limit: KEYS_PER_DELETE });
    if (objects.length > 0) await bucket.delete(objects.map(({ key }) => key));
    if (!truncated) return;
  }
}
