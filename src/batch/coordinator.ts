/**
 * The coordinator of one batch, and its only writer: the RPC methods that http, queue and sweep call, and the alarm that
 * drives the batch from one step to the next: validate, dispatch, finalize, publish. What it knows lives in `LiveBatch`.
 *
 * Every step can be repeated. A step that fails is tried again by the alarm, with growing pauses, so that no crash,
 * restart or lost message strands the batch.
 */
import { DurableObject } from "cloudflare:workers";
import { type BatchRecord, type BatchStatus, isFinal, move } from "../domain/batch.ts";
import type { Pause } from "../domain/breaker.ts";
import type {
  BatchSnapshot,
  CancelReply,
  ClaimReply,
  Coordinator,
  ReportReply,
  StartOrder,
  StartReply,
} from "../domain/conversation.ts";
import { type AnyReport, fillReport } from "../domain/other-version.ts";
import { planScaleMessages } from "../domain/dispatch-plan.ts";
import { type LogFields, logEvent, logFailure } from "../log.ts";
import { LOST_STATE, UNREADABLE_INPUT } from "../protocol/batch-problems.ts";
import { findBatch, saveBatch, saveFinalBatch } from "../stores/batches.ts";
import { openDatabase } from "../stores/schema.ts";
import { BatchCopy } from "./copy.ts";
import { findOldestMessage, sendDispatches } from "./dispatch-queue.ts";
import { finalize, publishFinal, removeLeftovers, settleLostLines, settleRefused } from "./ending.ts";
import { LiveBatch } from "./live-batch.ts";
import { type BatchState, finalOf, type FinalState } from "./state.ts";
import { BatchStorage } from "./storage.ts";
import { validateInput, type Verdict } from "./validate.ts";
import { WakeUp } from "./wake-up.ts";

/**
 * Leases are kept in memory, and an object that nobody calls for ten seconds leaves it
 * (developers.cloudflare.com/durable-objects/concepts/durable-object-lifecycle): while one is waited for, it stays awake.
 */
const AWAKE_EVERY_MS = 5_000;
/** While `start` waits for D1, this alarm stands by: a crash then leaves no batch that nothing wakes. */
const START_PATIENCE_MS = 30_000;
/** A copy in D1 this old, with no record here, is nobody's work in progress. */
const ABANDONED_AFTER_MS = 600_000;
/** An input whose validation ended the object this often, without a word, is not tried again. */
const MAX_VALIDATIONS = 5;

export class BatchCoordinator extends DurableObject<Env> implements Coordinator {
  /** All that the object stores. Replaced when a transaction has failed, because memory may then be ahead of it. */
  #storage: BatchStorage;
  /** Undefined until it is read; null when there is no batch. */
  #live: LiveBatch | null | undefined;
  /** `start` is under way: an alarm that goes off meanwhile waits. */
  #isStarting = false;
  /** The object's one alarm. */
  readonly #wakeUp: WakeUp;
  /** What D1 shows of the batch, and what it may have of its upstream. */
  readonly #copy: BatchCopy;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    this.#storage = new BatchStorage(ctx.storage);
    this.#wakeUp = new WakeUp(ctx.storage, this.#storage);
    this.#copy = new BatchCopy(this.#storage);
  }

  async start({ batch, sealedKey }: StartOrder): Promise<StartReply> {
    this.#isStarting = true;
    try {
      this.#storage.createTables();
      this.#storage.writeBatch({ record: batch, sealedKey, stage: { kind: "open" } });
      this.#live = undefined;
      await this.#wakeUp.standBy(Date.now() + START_PATIENCE_MS);
      await saveBatch(await openDatabase(this.env.DB), batch);
    } catch (error) {
      logFailure("batch_not_started", { batch: batch.id }, error);
      await this.#wipe();
      return { ok: false, reason: "unavailable" };
    } finally {
      this.#isStarting = false;
    }
    logStatus(batch);
    this.#wakeUp.now();
    return { ok: true, batch };
  }

  async snapshot(): Promise<BatchSnapshot | null> {
    const live = this.#load();
    if (live === null) return null;
    return live.pause === null ? live.record : { ...live.record, pause: live.pause };
  }

  async cancel(): Promise<CancelReply> {
    const live = this.#load();
    if (live === null) return { ok: false, reason: "gone" };
    const { record, stage } = live;
    if (record.status === "cancelling" || record.status === "cancelled") return { ok: true, batch: record };
    if (stage.kind !== "open") return { ok: false, reason: "too_late", status: endingStatusOf(live) };
    live.endEarly("cancelled", new Date());
    logStatus(live.record);
    this.#wakeUp.now();
    return { ok: true, batch: live.record };
  }

  async claim(token: string): Promise<ClaimReply> {
    return this.#load()?.claim(token, new Date()) ?? { kind: "unknown" };
  }

  async report(said: AnyReport): Promise<ReportReply> {
    const report = fillReport(said);
    const live = this.#load();
    if (live === null) return { kind: "unknown" };
    const [statusBefore, pauseBefore] = [live.record.status, live.pause];
    const reply = live.report(report, new Date());
    if (live.record.status !== statusBefore) logStatus(live.record);
    logPause(live, pauseBefore);
    const needsWork = live.stage.kind !== "open" || live.needsDispatch(new Date());
    this.#wakeUp.at(needsWork ? Date.now() : this.#nextStepAt(live));
    return reply;
  }

  async deadLettered(token: string): Promise<void> {
    const live = this.#load();
    if (live === null) return;
    live.forgetDispatches([token]);
    this.#wakeUp.restAWhile();
    this.#wakeUp.now();
  }

  async shareChanged(): Promise<void> {
    const live = this.#load();
    if (live?.isRunning !== true) return;
    this.#copy.expectChange();
    this.#wakeUp.at(this.#nextStepAt(live));
  }

  async wake(copy: BatchRecord): Promise<void> {
    if (this.#load() !== null) {
      await this.#wakeUp.lookUp();
      return this.#wakeUp.now();
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

  /** The platform repeats an alarm that throws six times and then drops it: this one catches, rests and sets it anew. */
  override async alarm(): Promise<void> {
    this.#wakeUp.forget();
    if (this.#isStarting) return this.#wakeUp.at(Date.now() + START_PATIENCE_MS);
    try {
      const live = this.#load();
      if (live === null) return;
      await this.#advance(live);
      this.#wakeUp.noteSuccess();
      const next = this.#load();
      if (next === null) return;
      this.#wakeUp.clearFailures(this.#storage);
      this.#wakeUp.at(this.#nextStepAt(next));
    } catch (error) {
      const failures = this.#wakeUp.noteFailure(this.#storage);
      logFailure("batch_step_failed", { batch: this.ctx.id.name ?? null, failures }, error);
    }
  }

  /** One pass: whatever is due for the batch in its present stage. After each step the stage is asked again. */
  async #advance(live: LiveBatch): Promise<void> {
    const isOpen = () => live.stage.kind === "open";
    if (isOpen() && live.record.expiresAt <= new Date()) live.endEarly("expired", new Date());
    if (isOpen() && live.record.status === "validating") await this.#validate(live);
    if (live.dispatches.findOverdue(new Date()).length > 0) {
      const oldest = await findOldestMessage(this.env.DISPATCHES, live.record.id);
      live.dispatches.awaitQueue(oldest, new Date());
    }
    const lapsed = live.takeBackLapsed(new Date());
    if (lapsed > 0) logEvent("dispatches_lapsed", { batch: live.record.id, dispatches: lapsed });
    await this.#copy.refresh(this.env, live);
    await settleLostLines(this.env, live);
    if (live.isRefusedForGood(new Date())) await settleRefused(this.env, live);
    if (live.isRunning) await this.#sendDispatches(live);
    if (live.stage.kind === "finalizing" || live.isDrained(new Date())) await finalize(this.env, live, this.#storage);
    const final = finalOf(live.stage);
    if (final !== null) await this.#conclude(live, final);
  }

  async #validate(live: LiveBatch): Promise<void> {
    const startedAt = Date.now();
    const isValidating = () => live.record.status === "validating" && live.stage.kind === "open";
    const tries = this.#storage.readValidationTries();
    if (tries >= MAX_VALIDATIONS) return live.refuseInput([UNREADABLE_INPUT], new Date());
    this.#storage.writeValidationTries(tries + 1);
    const verdict = await this.#readInput(live, isValidating);
    if (verdict === null || !isValidating()) return;
    if (!verdict.ok) return live.refuseInput(verdict.reason, new Date());
    live.acceptInput(verdict.value.slices, verdict.value.model, new Date());
    logStatus(live.record, { validationMs: Date.now() - startedAt });
  }

  /** A failure that can be told is none that kills: it does not count. */
  async #readInput(live: LiveBatch, isValidating: () => boolean): Promise<Verdict | null> {
    try {
      return await validateInput(this.env, live.record, isValidating);
    } catch (error) {
      this.#storage.writeValidationTries(0);
      throw error;
    }
  }

  async #sendDispatches(live: LiveBatch): Promise<void> {
    const tokens = live.planDispatches(() => crypto.randomUUID(), new Date());
    const { size, hadAtOnce } = live.dispatches;
    const scaleMessages = planScaleMessages(tokens.length, size, hadAtOnce);
    const sent = await sendDispatches(this.env.DISPATCHES, live.record.id, { tokens, scaleMessages });
    if (sent.ok) return;
    live.forgetDispatches(sent.unsent);
    throw sent.error;
  }

  /** Clients see the final state; then the object holds nothing any more. */
  async #conclude(live: LiveBatch, final: FinalState): Promise<void> {
    await publishFinal(this.env, live, final);
    logStatus(final.record);
    await removeLeftovers(this.env, final);
    await this.#wipe();
  }

  async #wipe(): Promise<void> {
    // Until it is done, nobody knows: a wipe that fails leaves the batch to the next alarm.
    this.#live = undefined;
    this.#wakeUp.forget();
    await this.ctx.storage.deleteAll();
    this.#live = null;
    await this.ctx.storage.deleteAlarm();
  }

  #load(): LiveBatch | null {
    if (this.#storage.isStale) {
      // A change was cut off. What the tables say is read again; an alarm that is under way can write no more.
      this.#storage = new BatchStorage(this.ctx.storage);
      this.#live = undefined;
    }
    if (this.#live !== undefined) return this.#live;
    const stored = this.#readStored();
    this.#live =
      stored === null ? null : new LiveBatch(this.#storage, stored, this.#copy.firstRoom(this.env, stored.record));
    return this.#live;
  }

  #readStored(): BatchState | null {
    if (!this.#storage.exists()) return null;
    this.#storage.upgradeTables();
    return this.#storage.readBatch();
  }

  #nextStepAt(live: LiveBatch): number | null {
    const times = [live.nextDueAt(new Date())];
    if (live.dispatches.size > 0) times.push(Date.now() + AWAKE_EVERY_MS);
    if (live.isRunning) times.push(this.#copy.nextRefreshAt);
    const known = times.filter((time) => time !== null);
    return known.length === 0 ? null : Math.min(...known);
  }
}

/** A batch that ends early says how; one whose lines are all settled shows the status that it has. */
function endingStatusOf({ record, stage }: LiveBatch): BatchStatus {
  const isOnItsWay = stage.kind === "draining" || stage.kind === "finalizing";
  const ending = isOnItsWay ? stage.ending : (finalOf(stage)?.record.status ?? record.status);
  return ending === "completed" ? record.status : ending;
}

/** One line when the upstream is paused, one when it serves again. Never what it said, nor its code: both may quote a prompt. */
function logPause({ record, pause, isRunning }: LiveBatch, before: Pause | null): void {
  const ids = { batch: record.id, upstream: record.upstream };
  if (pause !== null && before === null) {
    const { reason, since, probeAt } = pause;
    const times = { since: new Date(since).toISOString(), nextProbe: new Date(probeAt).toISOString() };
    logEvent("upstream_paused", { ...ids, reason, ...times });
  } else if (pause === null && before !== null && isRunning) {
    const pausedSeconds = Math.round((Date.now() - before.since) / 1000);
    logEvent("upstream_resumed", { ...ids, reason: before.reason, pausedSeconds });
  }
}

function logStatus(batch: BatchRecord, more: LogFields = {}): void {
  const { total, completed, failed } = batch.counts;
  const ids = { batch: batch.id, tenant: batch.tenant };
  logEvent("batch_status", { ...ids, status: batch.status, total, completed, failed, ...more });
}
