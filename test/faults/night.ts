/**
 * One simulated night: a client, the Worker's own code over real R2, D1 and Durable Objects, and between them
 * faults, a queue with mishaps, and a clock that is turned to whatever is due next. It keeps an account of what
 * happened, and of every rule that was broken on the way.
 */
import { abortAllDurableObjects, createExecutionContext, evictDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { vi } from "vitest";
import { type BatchStatus, BATCH_STATUSES, canMove, isFinal } from "../../src/domain/batch.ts";
import { chunkPrefix } from "../../src/stores/object-keys.ts";
import { consumeQueue } from "../../src/queue/consumer.ts";
import { sweep } from "../../src/sweep/sweep.ts";
import { type Probe, probeCoordinator, runAlarm } from "./coordinator-probe.ts";
import { type Delivery, DispatchQueue, messageBatchOf } from "./dispatch-queue.ts";
import { faultyEnv } from "./faulty-env.ts";
import { Injector, Life, lives, type Side } from "./injector.ts";
import { Random } from "./random.ts";
import { planFaults, type Scenario } from "./scenario.ts";
import { ScriptedUpstream } from "./scripted-upstream.ts";
import { TurnedClock, yieldToOthers } from "./turned-clock.ts";

const SECOND_MS = 1000;
const MINUTE_MS = 60 * SECOND_MS;
/** Ahead of the real clock, so that no alarm fires by itself; by less than makes an object an orphan. */
const AHEAD_MS = 60 * MINUTE_MS;
/** The platform tries an alarm that was cut off again. */
const ALARM_RETRY_MS = 2 * SECOND_MS;
const SWEEP_EVERY_MS = 5 * MINUTE_MS;
/** developers.cloudflare.com/durable-objects/concepts/durable-object-lifecycle: after ten seconds of inactivity. */
const HIBERNATES_AFTER_MS = 10 * SECOND_MS;
/** So often nothing is under way before the clock moves on. */
const CALM_TURNS = 2;
/** Of real time: real I/O takes milliseconds, but seconds on a busy disk. */
const MAX_SETTLE_MS = 30_000;

interface Consumer {
  readonly life: Life;
  readonly delivery: Delivery;
}

export class Night {
  readonly scenario: Scenario;
  readonly startedAt = Date.now() + AHEAD_MS;
  readonly clock = new TurnedClock();
  readonly injector: Injector;
  readonly queue: DispatchQueue;
  readonly upstream: ScriptedUpstream;
  /** Rules that were broken, in words. */
  readonly violations: string[] = [];
  /** Batches that somebody asked a coordinator for. */
  readonly batchIds = new Set<string>();
  /** `batch line` of those that are settled. */
  readonly #settled = new Set<string>();
  readonly #statuses = new Map<string, BatchStatus>();
  readonly #alarmsCutOff = new Map<string, number>();
  readonly #evicted = new Set<string>();
  readonly #lastActive = new Map<string, number>();
  readonly #consumers = new Set<Consumer>();
  readonly #envs: Readonly<Record<Side, Env>>;
  #evictions = 0;
  #consumerDeaths = 0;
  /** What is under way and needs no time to pass. */
  readonly #busy = new Set<{ readonly what: string }>();
  #hasCrashed = false;
  readonly #checkedChunks = new Map<string, number>();

  constructor(scenario: Scenario) {
    this.scenario = scenario;
    this.injector = new Injector(planFaults(scenario, this.startedAt), (side) => {
      if (side === "coordinator") this.#hasCrashed = true;
    });
    const mishaps = { ...scenario.mishaps, until: this.startedAt + scenario.quietAfterMs };
    this.queue = new DispatchQueue(Random.of(scenario.seed, 5), mishaps, (at, delivery) => {
      this.clock.schedule(at, () => void this.#consume(delivery));
    });
    this.upstream = new ScriptedUpstream(scenario.answerOf, (batchId, line) => {
      if (this.#settled.has(`${batchId} ${line}`)) this.violations.push(`line ${line} was sent after it had settled`);
    });
    this.#envs = {
      coordinator: this.#envOf("coordinator"),
      consumer: this.#envOf("consumer"),
      http: this.#envOf("http"),
      sweep: this.#envOf("sweep"),
    };
  }

  get httpEnv(): Env {
    return this.#envs.http;
  }

  /** By mishap: an object that rests is evicted in any night. */
  get evictions(): number {
    return this.#evictions;
  }

  get consumerDeaths(): number {
    return this.#consumerDeaths;
  }

  /** Until nothing more is to be done, or `limitAt`. */
  async play(client: () => Promise<void>, limitAt: () => number): Promise<void> {
    this.#begin();
    try {
      const stay = { isOver: false };
      void client()
        .catch((error: unknown) => this.violations.push(`the client broke off: ${String(error)}`))
        .finally(() => {
          stay.isOver = true;
        });
      for (;;) {
        await this.#settle();
        const probes = await this.#look();
        if (stay.isOver && (await this.#isOver(probes))) return;
        const alarms = [...probes].map(([id, { alarmAt }]) => ({
          id,
          at: alarmAt ?? this.#alarmsCutOff.get(id) ?? Infinity,
        }));
        const next = Math.min(this.clock.nextAt ?? Infinity, ...alarms.map(({ at }) => at));
        if (next > limitAt()) {
          this.violations.push(
            `not over after ${(limitAt() - this.startedAt) / MINUTE_MS} minutes: ${this.#describe(probes)}`,
          );
          return;
        }
        await this.#hibernate(next);
        this.clock.moveTo(next);
        for (const { id, at } of alarms) if (at <= Date.now()) this.#runAlarm(id);
      }
    } finally {
      this.#end();
    }
  }

  /** Work that needs no time to pass. */
  async busy<Value>(what: string, work: () => Promise<Value>): Promise<Value> {
    const entry = { what };
    this.#busy.add(entry);
    try {
      return await work();
    } finally {
      this.#busy.delete(entry);
    }
  }

  wait(milliseconds: number): Promise<void> {
    return new Promise((resolve) => {
      this.clock.schedule(Date.now() + milliseconds, resolve);
    });
  }

  /** Somebody saw this batch in this status. */
  noteStatus(observer: string, batchId: string, status: BatchStatus): void {
    const key = `${observer} ${batchId}`;
    const last = this.#statuses.get(key) ?? "validating";
    if (!leadsTo(last, status)) this.violations.push(`${observer} saw ${last}, then ${status}`);
    this.#statuses.set(key, status);
  }

  #begin(): void {
    this.clock.start(this.startedAt);
    const random = Random.of(this.scenario.seed, 6);
    vi.spyOn(Math, "random").mockImplementation(() => random.next());
    vi.spyOn(console, "log").mockImplementation(() => {});
    vi.spyOn(console, "error").mockImplementation(() => {});
    this.upstream.start();
    this.#sweepEvery();
    const { quietAfterMs, evictions, consumerDeaths } = this.scenario;
    for (let at = this.startedAt; at < this.startedAt + quietAfterMs; at += SECOND_MS) {
      if (random.chance(evictions)) this.clock.schedule(at, () => void this.busy("an eviction", () => this.#evict()));
      if (random.chance(consumerDeaths)) this.clock.schedule(at, () => this.#killConsumer(random));
    }
  }

  #end(): void {
    for (const { life } of this.#consumers) life.end();
    this.clock.stop();
    vi.restoreAllMocks();
  }

  async #settle(): Promise<void> {
    const deadline = performance.now() + MAX_SETTLE_MS;
    for (let calm = 0; calm < CALM_TURNS;) {
      if (performance.now() > deadline) throw new Error(`something hangs: ${this.#describeBusy()}`);
      if (this.#hasCrashed) await this.#crash();
      await yieldToOthers();
      this.#redeliver();
      calm = this.#busy.size === 0 && this.injector.pending === 0 ? calm + 1 : 0;
    }
  }

  /** What every object holds now; checks on the way that it holds nothing wrong. */
  async #look(): Promise<ReadonlyMap<string, Probe>> {
    const probes = new Map<string, Probe>();
    for (const id of this.batchIds) {
      const probe = await this.#probe(id);
      probes.set(id, probe);
      if (probe.record !== null) this.noteStatus("the object", id, probe.record.status);
      if (probe.chunks.length > (this.#checkedChunks.get(id) ?? 0)) await this.#checkChunks(id, probe);
    }
    return probes;
  }

  async #checkChunks(id: string, { chunks }: Probe): Promise<void> {
    this.#checkedChunks.set(id, chunks.length);
    const { objects } = await env.BUCKET.list({ prefix: chunkPrefix(id) });
    const sizes = new Map(objects.map(({ key, size }) => [key, size]));
    for (const { key, lines } of chunks) {
      const bytes = lines.reduce((sum, line) => sum + line.bytes, 0);
      if (sizes.get(key) !== bytes) this.violations.push(`chunk ${key} is counted, but not stored`);
    }
  }

  async #probe(id: string): Promise<Probe> {
    this.#evicted.delete(id);
    return probeCoordinator(id, this.#envs.coordinator);
  }

  async #isOver(probes: ReadonlyMap<string, Probe>): Promise<boolean> {
    for (const [id, { record, alarmAt }] of probes) {
      if (record !== null || alarmAt !== null) return false;
      const status = await env.DB.prepare("SELECT status FROM batches WHERE id = ?1")
        .bind(id)
        .first<BatchStatus>("status");
      if (status !== null && !isFinal(status)) return false;
    }
    return true;
  }

  #describe(probes: ReadonlyMap<string, Probe>): string {
    const objects = [...probes.values()].map(({ record, alarmAt }) => `${record?.status}, alarm at ${alarmAt}`);
    const calls = this.injector.calls.slice(-12).map(({ side, site, at }) => `${at - this.startedAt} ${side} ${site}`);
    return `${objects.join("; ")}; it is ${Date.now()}; last calls ${calls.join(", ")}`;
  }

  #describeBusy(): string {
    const busy = [...this.#busy].map(({ what }) => what).join(", ");
    const calls = this.injector.calls.slice(-6).map(({ side, site, number }) => `${side} ${site} ${number}`);
    return `${busy}; ${this.injector.describePending()}; last calls ${calls.join(", ")}`;
  }

  #runAlarm(id: string): void {
    this.#alarmsCutOff.delete(id);
    this.#lastActive.set(id, Date.now());
    void this.busy("an alarm", () => runAlarm(id, this.#envs.coordinator)).catch(() => {
      this.#alarmsCutOff.set(id, Date.now() + ALARM_RETRY_MS);
    });
  }

  async #consume(delivery: Delivery): Promise<void> {
    const consumer: Consumer = { life: new Life(), delivery };
    const { batch, verdict } = messageBatchOf(delivery);
    this.#consumers.add(consumer);
    try {
      await lives.run(consumer.life, () => consumeQueue(batch, this.#envs.consumer, createExecutionContext()));
    } catch (error) {
      this.violations.push(`a consumer threw: ${String(error)}`);
    }
    this.#consumers.delete(consumer);
    if (verdict.said === null) this.violations.push("a consumer said nothing of its message");
    else if (verdict.said !== "ack") this.queue.retry(delivery, verdict.said.retryAfterMs);
  }

  #killConsumer(random: Random): void {
    const alive = [...this.#consumers];
    const chosen = alive[random.between(0, Math.max(0, alive.length - 1))];
    if (chosen === undefined) return;
    this.#consumerDeaths += 1;
    chosen.life.end();
  }

  /** The queue learns that a consumer is dead. */
  #redeliver(): void {
    for (const consumer of this.#consumers) {
      if (!consumer.life.isOver()) continue;
      this.#consumers.delete(consumer);
      this.queue.retry(consumer.delivery);
    }
  }

  /** Everything in the memory of all objects is gone, in the middle of whatever they did. */
  async #crash(): Promise<void> {
    this.#hasCrashed = false;
    this.injector.forget("coordinator");
    for (const id of this.batchIds) this.#evicted.add(id);
    await abortAllDurableObjects();
  }

  async #evict(): Promise<void> {
    for (const id of this.batchIds) {
      this.#evictions += 1;
      await this.#evictOne(id);
    }
  }

  async #evictOne(id: string): Promise<void> {
    this.#evicted.add(id);
    // An object that is not in memory cannot be evicted.
    await evictDurableObject(env.COORDINATORS.getByName(id)).catch(() => {});
  }

  /** An object that nobody will have called for so long until `next` forgets what is not stored. */
  async #hibernate(next: number): Promise<void> {
    for (const [id, at] of this.#lastActive) {
      if (next - at <= HIBERNATES_AFTER_MS) continue;
      this.#lastActive.delete(id);
      await this.#evictOne(id);
    }
  }

  #sweepEvery(): void {
    this.clock.schedule(Date.now() + SWEEP_EVERY_MS, () => {
      void this.busy("a sweep", () => sweep(this.#envs.sweep, new Date()));
      this.#sweepEvery();
    });
  }

  #envOf(side: Side): Env {
    const { maxInFlight, linesPerInvocation, window } = this.scenario;
    return faultyEnv(env, {
      injector: this.injector,
      side,
      settings: {
        UPSTREAMS: Object.fromEntries(
          ["mock", "fine"].map((name) => [
            name,
            { kind: "http", base_url: `http://${name}.test/v1`, timeout_seconds: 5, max_in_flight: maxInFlight },
          ]),
        ),
        DEFAULT_UPSTREAM: "mock",
        LINES_PER_INVOCATION: String(linesPerInvocation),
        CONSUMER_WAITS: "true",
        COMPLETION_WINDOWS: window,
      },
      send: (dispatch) => this.queue.send(dispatch),
      beforeCoordinator: async (id) => {
        const isNew = !this.batchIds.has(id);
        this.batchIds.add(id);
        if (isNew || this.#evicted.has(id)) await this.#probe(id);
      },
      afterCoordinator: async (id) => {
        this.#lastActive.set(id, Date.now());
        const { chunks } = await this.#probe(id);
        for (const { line, result } of chunks.flatMap(({ lines }) => lines)) {
          if (result !== "void") this.#settled.add(`${id} ${line}`);
        }
      },
    });
  }
}

/** Along the arrows of src/domain/batch.ts; nobody has to see every status. */
function leadsTo(from: BatchStatus, to: BatchStatus): boolean {
  return from === to || BATCH_STATUSES.some((next) => canMove(from, next) && leadsTo(next, to));
}
