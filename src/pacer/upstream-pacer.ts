/**
 * The pacer of one upstream, or of one guest's key there: it hears from the coordinators of all batches that run on it, and
 * tells each what it may have in flight. How it decides stands in src/domain/pacing.ts.
 *
 * It holds nothing that a batch needs to end. What it forgets in a restart the coordinators tell it again, and while it
 * cannot be reached they go on with what they have (src/domain/last-grant.ts).
 */
import { DurableObject } from "cloudflare:workers";
import { settingsOf } from "../config.ts";
import type { Pause } from "../domain/breaker.ts";
import { limitByConsumers } from "../domain/consumers.ts";
import type { Grant, Pacer, Statement } from "../domain/grant.ts";
import { isGuestsPacer, upstreamOf } from "../domain/pacer-name.ts";
import { Pacing, type PacingMemory } from "../domain/pacing.ts";
import type { PacedUpstream } from "../domain/upstream-bearing.ts";
import { logEvent, logFailure } from "../log.ts";
import { PacerStorage } from "./storage.ts";

/** Coordinators that are told something at once; the platform takes more, but answers come back just as fast so. */
const MAX_TOLD_AT_ONCE = 32;
/** What is learnt of the upstream is written down at most this often, but for a pause. */
const WRITES_EVERY_MS = 10_000;
/** A budget: a pacer that dies forgets what it allowed since then. */
const WRITES_BUDGET_EVERY_MS = 1_000;
/** A batch that is silent for this long is asked, and forgotten when nobody answers for it. */
const ASKED_AFTER_MS = 60_000;
/** A coordinator that is not heard of for this time is gone; the lines that its consumers may still have are a few. */
const FORGOTTEN_AFTER_MS = 300_000;

export class UpstreamPacer extends DurableObject<Env> implements Pacer {
  readonly #storage: PacerStorage;
  /** Undefined until it is read. */
  #pacing: Pacing | undefined;
  /** Batches that are being told something. */
  readonly #told = new Set<string>();
  /** Batches that have been silent, until they are asked. */
  readonly #toAsk = new Set<string>();
  /** What is stored, as far as this memory knows, and since when, in ms. */
  #written: PacingMemory | null = null;
  #writtenAt = 0;
  #alarmAt: number | null = null;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    this.#storage = new PacerStorage(ctx.storage);
  }

  async tell(statement: Statement): Promise<Grant> {
    const pacing = this.#load();
    const pauseBefore = pacing.pause;
    this.#hear(pacing, statement);
    const grant = pacing.grantTo(statement.batchId, new Date());
    // What it allows is stored with it, a second later at most.
    this.#remember(pacing, pauseBefore);
    this.#tellOthers(pacing);
    return grant;
  }

  async findWork(slots: number): Promise<string | null> {
    return this.#load().findWork(slots, new Date());
  }

  override async alarm(): Promise<void> {
    this.#alarmAt = null;
    const pacing = this.#load();
    const now = Date.now();
    // There are as many guests as there are keys: nothing is kept for one without a batch.
    if (pacing.size === 0 && isGuestsPacer(this.ctx.id.name ?? "")) {
      this.#pacing = undefined;
      return this.ctx.storage.deleteAll();
    }
    for (const id of pacing.findSilent(new Date(now - FORGOTTEN_AFTER_MS))) this.#forget(pacing, id);
    for (const id of pacing.findSilent(new Date(now - ASKED_AFTER_MS))) this.#toAsk.add(id);
    this.#tellOthers(pacing);
  }

  #load(): Pacing {
    if (this.#pacing !== undefined) {
      this.#pacing.setUpstream(this.#upstream());
      return this.#pacing;
    }
    this.#storage.createTable();
    const life = { id: crypto.randomUUID(), startedAt: new Date() };
    const known = { memory: this.#storage.readMemory(), batchIds: this.#storage.readBatchIds() };
    this.#pacing = new Pacing(life, this.#upstream(), known);
    return this.#pacing;
  }

  #upstream(): PacedUpstream {
    const { upstreams, linesPerInvocation, dispatchQueues } = settingsOf(this.env);
    const upstream = upstreams.get(this.#upstreamName);
    return {
      maxInFlight: limitByConsumers(upstream?.maxInFlight ?? 0, { linesPerInvocation, queues: dispatchQueues.length }),
      linesPerInvocation,
      limits: { requests: upstream?.requestsPerMinute ?? null, tokens: upstream?.tokensPerMinute ?? null },
    };
  }

  get #upstreamName(): string {
    return upstreamOf(this.ctx.id.name ?? "");
  }

  #hear(pacing: Pacing, statement: Statement): void {
    const { batchId, isOver } = statement;
    const wasKnown = pacing.has(batchId);
    const pauseBefore = pacing.pause;
    pacing.hear(statement, new Date());
    if (!wasKnown && !isOver) this.#storage.insertBatch(batchId);
    if (wasKnown && isOver) this.#storage.deleteBatch(batchId);
    logPause(this.#upstreamName, pauseBefore, pacing.pause);
  }

  #forget(pacing: Pacing, batchId: string): void {
    pacing.drop(batchId);
    this.#storage.deleteBatch(batchId);
  }

  #remember(pacing: Pacing, pauseBefore: Pause | null): void {
    const now = Date.now();
    const { memory, pause } = pacing;
    const { requests, tokens } = this.#upstream().limits;
    const hasBudget = requests !== null || tokens !== null;
    const isNew = hasBudget || pause !== pauseBefore || memory.limit.size !== this.#written?.limit.size;
    const everyMs = hasBudget ? WRITES_BUDGET_EVERY_MS : WRITES_EVERY_MS;
    if (!isNew || (pause === pauseBefore && now < this.#writtenAt + everyMs)) return;
    this.#writtenAt = now;
    this.#written = memory;
    this.#storage.writeMemory(memory);
  }

  /** Whose turn it is, or is not any more, hears of it at once. */
  #tellOthers(pacing: Pacing): void {
    this.#ask(pacing, [...this.#toAsk, ...pacing.findUnheard()]);
    const urgent = pacing.takeUrgent(new Date(), (id) => this.#told.has(id), MAX_TOLD_AT_ONCE - this.#told.size);
    for (const [id, grant] of urgent) void this.#tellOne(pacing, id, grant);
    this.#wakeUp(pacing);
  }

  /** What do they hold? As many as may be told something at once. */
  #ask(pacing: Pacing, batchIds: readonly string[]): void {
    const others = batchIds.filter((id) => !this.#told.has(id));
    for (const id of others.slice(0, Math.max(0, MAX_TOLD_AT_ONCE - this.#told.size))) {
      void this.#tellOne(pacing, id, null);
    }
  }

  /** Never throws. */
  async #tellOne(pacing: Pacing, batchId: string, grant: Grant | null): Promise<void> {
    this.#told.add(batchId);
    this.#toAsk.delete(batchId);
    try {
      const coordinator = this.env.COORDINATORS.getByName(batchId);
      const statement = await (grant === null ? coordinator.describeLoad() : coordinator.takeGrant(grant));
      const pauseBefore = pacing.pause;
      if (statement === null) this.#forget(pacing, batchId);
      else this.#hear(pacing, statement);
      this.#remember(pacing, pauseBefore);
    } catch (error) {
      pacing.noteUnreachable(batchId);
      logFailure("grant_not_told", { upstream: this.#upstreamName, batch: batchId }, error);
    }
    this.#told.delete(batchId);
    this.#tellOthers(pacing);
  }

  #wakeUp(pacing: Pacing): void {
    if (pacing.size === 0) return;
    const now = Date.now();
    const at = Math.min(pacing.nextDueAt(new Date(now)) ?? Infinity, now + ASKED_AFTER_MS);
    if (this.#alarmAt !== null && this.#alarmAt <= at) return;
    this.#alarmAt = at;
    void this.ctx.storage.setAlarm(at);
  }
}

/** Never what it said, nor its code: both may quote a prompt. */
function logPause(upstream: string, before: Pause | null, after: Pause | null): void {
  if (after !== null && before === null) {
    const { reason, since, probeAt } = after;
    const times = { since: new Date(since).toISOString(), nextProbe: new Date(probeAt).toISOString() };
    logEvent("upstream_paused", { upstream, reason, ...times });
  } else if (after === null && before !== null) {
    const pausedSeconds = Math.round((Date.now() - before.since) / 1000);
    logEvent("upstream_resumed", { upstream, reason: before.reason, pausedSeconds });
  }
}
