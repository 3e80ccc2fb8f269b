/**
 * The coordinator of one batch, and its only writer: the RPC methods that http and queue call, and the alarm
 * that drives the batch from one status to the next. What it knows lives in `LiveBatch`; here is the order of
 * the steps that need the outside world: validate, dispatch, finalize, conclude.
 *
 * Every step can be repeated. A step that fails is tried again by the alarm, with growing delays, so that no
 * crash, restart or lost message strands the batch.
 */
import { DurableObject } from "cloudflare:workers";
import { type BatchRecord, isFinal, move } from "../domain/batch.ts";
import type { CancelReply, Coordinator, StartOrder, StartReply } from "../domain/coordinator.ts";
import type { ClaimReply, Dispatch, ReportReply, Report } from "../domain/dispatch.ts";
import { type LogFields, logEvent, logFailure } from "../log.ts";
import { LOST_STATE, lostInput, UNWRITTEN_RESULTS } from "../protocol/batch-problems.ts";
import type { MissingReason } from "../protocol/result-line.ts";
import { saveFinalBatch, findBatch, saveBatch } from "../stores/batches.ts";
import { findLostChunks } from "../stores/chunks.ts";
import { openDatabase } from "../stores/schema.ts";
import { publishFinal, removeLeftovers } from "./conclude.ts";
import { writeResultFiles } from "./finalize.ts";
import type { Ending, FinalState, StoredChunk } from "./ledger-rows.ts";
import { LedgerStore } from "./ledger-store.ts";
import { LiveBatch } from "./live-batch.ts";
import { writeMissingResults } from "./missing-results.ts";
import { Publisher } from "./publisher.ts";
import { validateInput } from "./validate.ts";

/**
 * Leases are kept in memory, and an object that nobody calls for ten seconds leaves it
 * (developers.cloudflare.com/durable-objects/concepts/durable-object-lifecycle): while one is waited for, it stays awake.
 */
const AWAKE_EVERY_MS = 5_000;
/** While `start` waits for D1, this alarm stands by: a crash then leaves no batch that nothing wakes. */
const START_PATIENCE_MS = 30_000;
const MIN_REST_MS = 1_000;
const MAX_REST_MS = 60_000;
/** A copy in D1 this old, with no record here, is nobody's work in progress. */
const ABANDONED_AFTER_MS = 600_000;
/** developers.cloudflare.com/queues/platform/limits: messages a `sendBatch` takes. */
const MESSAGES_PER_SEND = 100;

/** Stored, because an object is out of memory after ten seconds of rest, and would begin to count again. */
const FAILURES_KEY = "failures";

/** After this time, and at least this many tries, the batch ends without its files. */
const FINALIZE_PATIENCE_MS = 86_400_000;
const MIN_FINALIZE_TRIES = 10;
const ATTEMPTS_KEY = "attempts";

interface Attempts {
  /** The first one, in ms. */
  readonly since: number;
  readonly tries: number;
}

const UNEXECUTED_REASONS = {
  cancelled: "batch_cancelled",
  expired: "batch_expired",
  failed: "input_file_unavailable",
} as const;

export class BatchCoordinator extends DurableObject<Env> implements Coordinator {
  #store: LedgerStore;
  /** Undefined until it is read; null when there is no batch. */
  #live: LiveBatch | null | undefined;
  #isStarting = false;
  #alarmAt: number | null = null;
  /** Steps that failed in a row, and the time before which none is tried again. */
  #failures: number;
  #restUntil = 0;
  readonly #publisher: Publisher;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    this.#store = new LedgerStore(ctx.storage);
    this.#publisher = new Publisher(ctx.storage);
    this.#failures = ctx.storage.kv.get<number>(FAILURES_KEY) ?? 0;
  }

  async start({ batch, sealedKey }: StartOrder): Promise<StartReply> {
    this.#isStarting = true;
    try {
      this.#store.createTables();
      this.#store.writeBatch({ record: batch, sealedKey, ending: null, endsBy: null, final: null });
      this.#live = undefined;
      await this.ctx.storage.setAlarm(Date.now() + START_PATIENCE_MS);
      await saveBatch(await openDatabase(this.env.DB), batch);
    } catch (error) {
      logFailure("batch_not_started", { batch: batch.id }, error);
      await this.#wipe();
      return { ok: false, reason: "unavailable" };
    } finally {
      this.#isStarting = false;
    }
    logStatus(batch);
    this.#wakeAt(Date.now());
    return { ok: true, batch };
  }

  async snapshot(): Promise<BatchRecord | null> {
    return this.#load()?.record ?? null;
  }

  async cancel(): Promise<CancelReply> {
    const live = this.#load();
    if (live === null) return { ok: false, reason: "gone" };
    const { record, state } = live;
    if (record.status === "cancelling" || record.status === "cancelled") return { ok: true, batch: record };
    if (state.ending !== null) {
      const status = state.ending === "completed" ? record.status : state.ending;
      return { ok: false, reason: "too_late", status };
    }
    live.endEarly("cancelled", new Date());
    logStatus(live.record);
    this.#wakeAt(Date.now());
    return { ok: true, batch: live.record };
  }

  async claim(token: string): Promise<ClaimReply> {
    return this.#load()?.claim(token, new Date()) ?? { kind: "unknown" };
  }

  async report(report: Report): Promise<ReportReply> {
    const live = this.#load();
    if (live === null) return { kind: "unknown" };
    const statusBefore = live.record.status;
    const orders = live.report(report, new Date());
    if (live.record.status !== statusBefore) logStatus(live.record);
    const needsWork = live.state.ending !== null || live.needsDispatch(new Date());
    this.#wakeAt(needsWork ? Date.now() : this.#nextWakeAt(live));
    return orders;
  }

  async deadLettered(token: string): Promise<void> {
    const live = this.#load();
    if (live === null) return;
    live.forgetDispatches([token]);
    this.#restUntil = Math.max(this.#restUntil, Date.now() + MIN_REST_MS);
    this.#wakeAt(this.#restUntil);
  }

  async shareChanged(): Promise<void> {
    const live = this.#load();
    if (live?.isRunning !== true) return;
    this.#publisher.expectChange();
    this.#wakeAt(this.#nextWakeAt(live));
  }

  async wake(copy: BatchRecord): Promise<void> {
    if (this.#load() !== null) {
      // Memory may remember an alarm that is no longer there.
      this.#alarmAt = await this.ctx.storage.getAlarm();
      return this.#wakeAt(Date.now());
    }
    if (Date.now() < copy.createdAt.getTime() + ABANDONED_AFTER_MS) return;
    const db = await openDatabase(this.env.DB);
    const known = await findBatch(db, copy.tenant, copy.id);
    if (known === null || isFinal(known.status)) return;
    // `start` was cut off between D1 and its answer, or D1 was set back to an older state. The copy must not stay.
    const record = move({ ...known, status: "validating", errors: [LOST_STATE] }, "failed", new Date());
    await saveFinalBatch(db, record, []);
    logStatus(record);
  }

  /** The platform repeats an alarm that throws six times and then drops it: this one catches, rests and re-arms. */
  override async alarm(): Promise<void> {
    this.#alarmAt = null;
    if (this.#isStarting) return this.#wakeAt(Date.now() + START_PATIENCE_MS);
    try {
      const live = this.#load();
      if (live === null) return;
      await this.#advance(live);
      this.#restUntil = 0;
      const next = this.#load();
      if (next === null) return;
      if (this.#failures > 0) this.#noteFailures(0);
      this.#wakeAt(this.#nextWakeAt(next));
    } catch (error) {
      this.#noteFailures(this.#failures + 1);
      this.#restUntil = Date.now() + Math.min(MAX_REST_MS, MIN_REST_MS * 2 ** (this.#failures - 1));
      logFailure("batch_step_failed", { batch: this.ctx.id.name ?? null, failures: this.#failures }, error);
      this.#wakeAt(this.#restUntil);
    }
  }

  /** One pass: whatever is due for the batch in its present state. After each step the state is asked again. */
  async #advance(live: LiveBatch): Promise<void> {
    if (live.state.ending === null && live.record.expiresAt <= new Date()) live.endEarly("expired", new Date());
    if (live.state.ending === null && live.record.status === "validating") await this.#validate(live);
    const lapsed = live.lapse(new Date());
    if (lapsed > 0) logEvent("dispatches_lapsed", { batch: live.record.id, dispatches: lapsed });
    await this.#publisher.publish(this.env, live);
    if (live.isRunning) await this.#sendDispatches(live);
    if (live.isDrained(new Date())) await this.#finalize(live);
    const { final } = live.state;
    if (final !== null) await this.#conclude(live, final);
  }

  async #validate(live: LiveBatch): Promise<void> {
    const startedAt = Date.now();
    const isValidating = () => live.record.status === "validating" && live.state.ending === null;
    const verdict = await validateInput(this.env, live.record, isValidating);
    if (verdict === null || !isValidating()) return;
    if (!verdict.ok) return live.refuseInput(verdict.reason, new Date());
    live.acceptInput(verdict.value.slices, verdict.value.model, new Date());
    logStatus(live.record, { validationMs: Date.now() - startedAt });
  }

  async #sendDispatches(live: LiveBatch): Promise<void> {
    const batchId = live.record.id;
    const tokens = live.planDispatches(() => crypto.randomUUID(), new Date());
    for (let from = 0; from < tokens.length; from += MESSAGES_PER_SEND) {
      const dispatches = tokens.slice(from, from + MESSAGES_PER_SEND).map((token): Dispatch => ({ batchId, token }));
      try {
        await this.env.DISPATCHES.sendBatch(dispatches.map((body) => ({ body })));
      } catch (error) {
        live.forgetDispatches(tokens.slice(from));
        throw error;
      }
    }
  }

  async #finalize(live: LiveBatch): Promise<void> {
    live.stopWaiting();
    const { ending } = live.state;
    if (ending === null) return;
    // Counted before it begins: an alarm that the platform ends says nothing.
    const { since, tries } = this.ctx.storage.kv.get<Attempts>(ATTEMPTS_KEY) ?? { since: Date.now(), tries: 0 };
    if (tries >= MIN_FINALIZE_TRIES && Date.now() > since + FINALIZE_PATIENCE_MS) {
      const { record } = live;
      logEvent("results_given_up", { batch: record.id, tries });
      const status = ending === "completed" ? "failed" : ending;
      return live.recordFinal({
        record: { ...move(record, status, new Date()), errors: [UNWRITTEN_RESULTS] },
        files: [],
      });
    }
    this.ctx.storage.kv.put(ATTEMPTS_KEY, { since, tries: tries + 1 });
    live.recordFinal(await this.#writeResults(live, ending, tries > 0));
  }

  /** Every line that was not executed gets its error line; then the files are written. */
  async #writeResults(live: LiveBatch, ending: Ending, isAgain: boolean): Promise<FinalState> {
    const { record } = live;
    if (ending !== "completed") await this.#settleRest(live, UNEXECUTED_REASONS[ending]);
    if (isAgain) {
      const lost = await findLostChunks(this.env.BUCKET, record.id, live.chunks());
      if (ending !== "completed") {
        live.loseChunks(lost.filter(isUnexecuted));
        await this.#settleRest(live, UNEXECUTED_REASONS[ending]);
      }
      live.loseChunks(lost.filter((chunk) => !isUnexecuted(chunk)));
      await this.#settleRest(live, "result_lost");
    }
    const results = { batch: record, chunks: live.chunks(), createdAt: endOf(record, ending) };
    const { output, error } = await writeResultFiles(this.env.BUCKET, results);
    const errors = ending === "failed" ? [lostInput(record)] : null;
    const fileIds = { outputFileId: output?.id ?? null, errorFileId: error?.id ?? null };
    return {
      record: { ...move(live.record, ending, new Date()), ...fileIds, errors },
      files: [output, error].filter((file) => file !== null),
    };
  }

  async #settleRest(live: LiveBatch, reason: MissingReason): Promise<void> {
    const missing = { batch: live.record, reason, slices: live.unsettledSlices(), now: new Date() };
    for await (const chunk of writeMissingResults(this.env.BUCKET, missing)) live.settleMissing(chunk);
  }

  async #conclude(live: LiveBatch, final: FinalState): Promise<void> {
    await publishFinal(this.env, final);
    live.markPublished();
    logStatus(final.record);
    await removeLeftovers(this.env, final);
    await this.#wipe();
  }

  async #wipe(): Promise<void> {
    // Until it is done, nobody knows: a wipe that fails leaves the batch to the next alarm.
    this.#live = undefined;
    this.#alarmAt = null;
    await this.ctx.storage.deleteAll();
    this.#live = null;
    await this.ctx.storage.deleteAlarm();
  }

  #load(): LiveBatch | null {
    if (this.#store.isStale) {
      // A change was cut off. What the tables say is read again; an alarm that is under way can write no more.
      this.#store = new LedgerStore(this.ctx.storage);
      this.#live = undefined;
    }
    if (this.#live !== undefined) return this.#live;
    const stored = this.#store.exists() ? this.#store.readBatch() : null;
    this.#live =
      stored === null ? null : new LiveBatch(this.#store, stored, this.#publisher.firstShare(this.env, stored.record));
    return this.#live;
  }

  #nextWakeAt(live: LiveBatch): number | null {
    const dueAt = live.nextWakeAt(new Date());
    const times = dueAt === null ? [] : [dueAt];
    if (live.isWaiting) times.push(Date.now() + AWAKE_EVERY_MS);
    if (live.isRunning) times.push(this.#publisher.nextLookAt);
    return times.length === 0 ? null : Math.min(...times);
  }

  #noteFailures(inARow: number): void {
    this.#failures = inARow;
    this.ctx.storage.kv.put(FAILURES_KEY, inARow);
  }

  /** There is one alarm, and it is only ever moved forward. Setting it is a billed row. */
  #wakeAt(time: number | null): void {
    if (time === null) return;
    const at = Math.max(time, this.#restUntil, Date.now());
    if (this.#alarmAt !== null && this.#alarmAt <= at) return;
    this.#alarmAt = at;
    void this.ctx.storage.setAlarm(at);
  }
}

/** When its files count as created. Their ids follow from it: it must be the same whenever the step is repeated. */
function endOf({ times, expiresAt, createdAt }: BatchRecord, ending: Ending): Date {
  if (ending === "expired") return expiresAt;
  return times.finalizingAt ?? times.cancellingAt ?? times.inProgressAt ?? createdAt;
}

/** A chunk holds error lines of lines that never ran, or results. */
function isUnexecuted({ lines }: StoredChunk): boolean {
  return lines.some(({ result }) => result === "unexecuted");
}

function logStatus(batch: BatchRecord, more: LogFields = {}): void {
  const { total, completed, failed } = batch.counts;
  const ids = { batch: batch.id, tenant: batch.tenant };
  logEvent("batch_status", { ...ids, status: batch.status, total, completed, failed, ...more });
}
