/**
 * The coordinator of one batch, and its only writer: the RPC methods that http, queue and sweep call, and the alarm that
 * drives the batch from one step to the next: validate, dispatch, finalize, publish. What it knows lives in `LiveBatch`.
 *
 * Every step can be repeated. A step that fails is tried again by the alarm, with growing pauses, so that no crash,
 * restart or lost message strands the batch.
 */
import { DurableObject } from "cloudflare:workers";
import { settingsOf } from "../config.ts";
import type { BatchRecord } from "../domain/batch.ts";
import type {
  BatchSnapshot,
  CancelReply,
  ClaimReply,
  Coordinator,
  NextClaim,
  ReportReply,
  StartOrder,
  StartReply,
} from "../domain/conversation.ts";
import { type AnyReport, fillReport } from "../domain/other-version.ts";
import { earliest } from "../domain/earliest.ts";
import { mostDispatches } from "../domain/consumers.ts";
import type { Grant, Statement } from "../domain/grant.ts";
import { logEvent, logFailure } from "../log.ts";
import { saveBatch } from "../stores/batches.ts";
import { openDatabase } from "../stores/schema.ts";
import { BatchCopy } from "./copy.ts";
import { awaitQueues, DispatchQueues } from "./dispatch-queues.ts";
import {
  failOrphan,
  finalize,
  publishFinal,
  refuseInput,
  removeLeftovers,
  settleLostLines,
  settleRefused,
} from "./ending.ts";
import { LiveBatch } from "./live-batch.ts";
import { logStatus } from "./log-status.ts";
import { PacerLink } from "./pacer-link.ts";
import { type BatchState, endingStatusOf, finalOf, type FinalState } from "./state.ts";
import { BatchStorage } from "./storage.ts";
import { tryValidation } from "./validate.ts";
import { WakeUp } from "./wake-up.ts";

/**
 * Leases are kept in memory, and an object that nobody calls for ten seconds leaves it
 * (developers.cloudflare.com/durable-objects/concepts/durable-object-lifecycle): while one is waited for, it stays awake.
 */
const AWAKE_EVERY_MS = 8_000;
/** What is due within this time is done at once: an alarm costs a row. */
const TOGETHER_MS = 1_000;
/** While `start` waits for D1, this alarm stands by: a crash then leaves no batch that nothing wakes. */
const START_PATIENCE_MS = 30_000;
/** A copy in D1 this old, with no record here, is nobody's work in progress. */
const ABANDONED_AFTER_MS = 600_000;

export class BatchCoordinator extends DurableObject<Env> implements Coordinator {
  /** All that the object stores. Replaced when a transaction has failed, because memory may then be ahead of it. */
  #storage: BatchStorage;
  /** Undefined until it is read; null when there is no batch. */
  #live: LiveBatch | null | undefined;
  /** `start` is under way: an alarm that goes off meanwhile waits. */
  #isStarting = false;
  /** The object's one alarm. */
  readonly #wakeUp: WakeUp;
  /** What D1 shows of the batch. */
  readonly #copy: BatchCopy;
  readonly #queues = new DispatchQueues();
  /** What the batch may have of its upstream. */
  #pacer = new PacerLink(0, { linesPerInvocation: 1, mostDispatches: 1, isBudgeted: false });

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
    if (stage.kind !== "open") return { ok: false, reason: "too_late", status: endingStatusOf(record, stage) };
    live.endEarly("cancelled", new Date());
    logStatus(live.record);
    this.#wakeUp.now();
    return { ok: true, batch: live.record };
  }

  async claim(token: string): Promise<ClaimReply> {
    await this.#hearPacer();
    return this.#load()?.claim(token, new Date()) ?? { kind: "unknown" };
  }

  async claimNext(slots: number): Promise<NextClaim> {
    const live = this.#load();
    if (live === null) return null;
    const makeToken = this.#queues.makeTokens(settingsOf(this.env).dispatchQueues, live.dispatches.tokens());
    const next = live.claimNext(slots, makeToken, new Date());
    this.#wakeUp.at(live.needsDispatch(new Date()) ? Date.now() : this.#nextStepAt(live));
    return next;
  }

  async report(said: AnyReport): Promise<ReportReply> {
    const report = fillReport(said);
    if (this.#load() !== null) this.#pacer.note(report);
    await this.#hearPacer();
    const live = this.#load();
    if (live === null) return { kind: "unknown" };
    const statusBefore = live.record.status;
    const reply = live.report(report, new Date());
    if (live.record.status !== statusBefore) logStatus(live.record);
    if (this.#pacer.isDue(live, new Date())) void this.#tellPacer(live);
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

  async takeGrant(grant: Grant): Promise<Statement | null> {
    const live = this.#load();
    if (live === null) return null;
    this.#pacer.take(grant, live.startsAt(new Date()).begun);
    this.#useGrant(live);
    return this.describeLoad();
  }

  async describeLoad(): Promise<Statement | null> {
    const live = this.#load();
    if (live === null) return null;
    const statement = this.#pacer.describe(live, new Date());
    this.#pacer.noteTold(statement);
    return statement;
  }

  async wake(copy: BatchRecord): Promise<void> {
    if (this.#load() !== null) {
      await this.#wakeUp.lookUp();
      return this.#wakeUp.now();
    }
    if (Date.now() >= copy.createdAt.getTime() + ABANDONED_AFTER_MS) await failOrphan(this.env, copy);
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
    await awaitQueues(settingsOf(this.env).dispatchQueues, live);
    const lapsed = live.takeBackLapsed(new Date());
    if (lapsed > 0) logEvent("dispatches_lapsed", { batch: live.record.id, dispatches: lapsed });
    await this.#copy.refresh(this.env, live);
    if (this.#pacer.isDue(live, new Date(Date.now() + TOGETHER_MS))) await this.#pacer.tell(this.env, live);
    live.setRoom(this.#pacer.roomAt(new Date()));
    await settleLostLines(this.env, live);
    await settleRefused(this.env, live);
    if (live.isRunning) await this.#queues.sendWanted(settingsOf(this.env).dispatchQueues, live);
    if (live.stage.kind === "finalizing" || live.isDrained(new Date())) await finalize(this.env, live, this.#storage);
    const final = finalOf(live.stage);
    if (final !== null) await this.#conclude(live, final);
  }

  async #validate(live: LiveBatch): Promise<void> {
    const startedAt = Date.now();
    const isValidating = () => live.record.status === "validating" && live.stage.kind === "open";
    const verdict = await tryValidation(this.env, live.record, { storage: this.#storage, mayGoOn: isValidating });
    if (verdict === null || !isValidating()) return;
    if (!verdict.ok) return refuseInput(live, verdict.reason);
    live.acceptInput(verdict.value.slices, verdict.value.model, new Date());
    logStatus(live.record, { validationMs: Date.now() - startedAt });
  }

  /** Before a consumer is told what it may do. Never throws. */
  async #hearPacer(): Promise<void> {
    const live = this.#load();
    if (live === null) return;
    await this.#pacer.hearFirst(this.env, live);
    if (this.#live === live) live.setRoom(this.#pacer.roomAt(new Date()));
  }

  /** Never throws. */
  async #tellPacer(live: LiveBatch): Promise<void> {
    await this.#pacer.tell(this.env, live);
    if (this.#live === live) this.#useGrant(live);
  }

  #useGrant(live: LiveBatch): void {
    const now = new Date();
    live.setRoom(this.#pacer.roomAt(now));
    this.#wakeUp.at(live.needsDispatch(now) ? now.getTime() : this.#nextStepAt(live));
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
    if (stored === null) {
      this.#live = null;
      return null;
    }
    const { linesPerInvocation, dispatchQueues, upstreams } = settingsOf(this.env);
    const consumers = { linesPerInvocation, mostDispatches: mostDispatches(dispatchQueues.length) };
    this.#live = new LiveBatch(this.#storage, stored, consumers);
    const upstream = upstreams.get(stored.record.upstream);
    const isBudgeted = (upstream?.requestsPerMinute ?? upstream?.tokensPerMinute ?? null) !== null;
    this.#pacer = new PacerLink(this.#live.loadAt(new Date()).heldLines, { ...consumers, isBudgeted });
    this.#live.setRoom(this.#pacer.roomAt(new Date()));
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
    if (live.isRunning) times.push(this.#copy.nextRefreshAt(live));
    times.push(this.#pacer.nextAt(live, new Date()));
    return earliest(times);
  }
}
