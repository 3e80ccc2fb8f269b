/**
 * A fault run: a client, the Worker's own code over real R2, D1 and Durable Objects, and between them
 * faults, a queue with faults of its own, and a virtual clock that goes on to whatever is due next. What must hold
 * on the way stands in run-rules.ts, what must hold at the end in run-checks.ts.
 */
import { abortAllDurableObjects, evictDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { vi } from "vitest";
import { type BatchStatus, isFinal } from "../../src/domain/batch.ts";
import { sweep } from "../../src/sweep/sweep.ts";
import { Random } from "../support/random.ts";
import { Consumers } from "./consumers.ts";
import { type Probe, probeCoordinator, runAlarm } from "./coordinator-probe.ts";
import { DispatchQueue } from "./dispatch-queue.ts";
import { faultyEnv } from "./faulty-env.ts";
import { Injector, type Side } from "./injector.ts";
import { RunRules } from "./run-rules.ts";
import { probePacer, runPacerAlarm } from "./pacer-probe.ts";
import { planFaults, type Scenario } from "./scenario.ts";
import { ScriptedUpstream } from "./scripted-upstream.ts";
import { VirtualClock, yieldToOthers } from "./virtual-clock.ts";

const SECOND_MS = 1000;
const MINUTE_MS = 60 * SECOND_MS;
/** Ahead of the real clock, so that no alarm fires by itself; by less than makes an object an orphan. */
const AHEAD_MS = 60 * MINUTE_MS;
/** The platform tries an alarm that was cut off again. */
const ALARM_RETRY_MS = 2 * SECOND_MS;
const SWEEP_EVERY_MS = 5 * MINUTE_MS;
/** developers.cloudflare.com/durable-objects/concepts/durable-object-lifecycle: after ten seconds of inactivity. */
const HIBERNATES_AFTER_MS = 10 * SECOND_MS;
/** How many turns in a row nothing must be under way before the clock moves on. */
const CALM_TURNS = 2;
/** Of real time: real I/O takes milliseconds, but seconds on a busy disk. */
const MAX_SETTLE_MS = 30_000;

export class FaultRun {
  readonly scenario: Scenario;
  readonly startedAt = Date.now() + AHEAD_MS;
  readonly clock = new VirtualClock();
  readonly injector: Injector;
  readonly queue: DispatchQueue;
  readonly upstream: ScriptedUpstream;
  readonly rules = new RunRules();
  /** Batches that somebody asked a coordinator for. */
  readonly batchIds = new Set<string>();
  readonly #alarmsCutOff = new Map<string, number>();
  readonly #evicted = new Set<string>();
  /** Pacers that a coordinator asked for, and those of them that were evicted since. */
  readonly #pacers = new Set<string>();
  readonly #evictedPacers = new Set<string>();
  readonly #lastActive = new Map<string, number>();
  readonly #consumers: Consumers;
  readonly #envs: Readonly<Record<Side, Env>>;
  #evictions = 0;
  /** What is under way and needs no time to pass. */
  readonly #busy = new Set<{ readonly what: string }>();
  #hasCrashed = false;

  constructor(scenario: Scenario) {
    this.scenario = scenario;
    this.injector = new Injector(planFaults(scenario, this.startedAt), (side) => {
      if (side === "coordinator" || side === "pacer") this.#hasCrashed = true;
    });
    const queueFaults = { ...scenario.queueFaults, until: this.startedAt + scenario.quietAfterMs };
    this.queue = new DispatchQueue(Random.of(scenario.seed, 5), queueFaults, (at, delivery) => {
      this.clock.schedule(at, () => void this.#consumers.consume(delivery, this.#envs.consumer));
    });
    this.#consumers = new Consumers(this.queue, this.rules);
    const answerOf: Scenario["answerOf"] = (line, call) =>
      scenario.outageAt(Date.now() - this.startedAt) ?? scenario.answerOf(line, call);
    this.upstream = new ScriptedUpstream(answerOf, {
      onCall: (batchId, line) => this.rules.noteSent(batchId, line),
      onSuccess: (batchId, line, consumer) => this.rules.holders.noteSuccess(batchId, line, consumer),
      onKill: (batchId, line, tokens) => this.rules.noteKill(batchId, line, tokens),
    });
    this.#envs = {
      coordinator: this.#envOf("coordinator"),
      pacer: this.#envOf("pacer"),
      consumer: this.#envOf("consumer"),
      http: this.#envOf("http"),
      sweep: this.#envOf("sweep"),
    };
  }

  get httpEnv(): Env {
    return this.#envs.http;
  }

  /** Those that the scenario asks for: an object that rests is evicted in any run. */
  get evictions(): number {
    return this.#evictions;
  }

  /** Consumers died, or could not be heard, for other reasons than their lines. */
  get hasLosses(): boolean {
    return this.consumerDeaths > 0 || this.evictions > 0 || this.injector.faults > 0;
  }

  get consumerDeaths(): number {
    return this.#consumers.deaths;
  }

  /** Until nothing more is to be done, or `limitAt`. */
  async play(client: () => Promise<void>, limitAt: () => number): Promise<void> {
    this.#begin();
    try {
      const session = { isOver: false };
      void client()
        .catch((error: unknown) => this.rules.broken(`the client broke off: ${String(error)}`))
        .finally(() => {
          session.isOver = true;
        });
      for (;;) {
        await this.#settle();
        const probes = await this.#look();
        if (session.isOver && (await this.#isOver(probes))) return;
        const alarms = [...probes].map(([id, { alarmAt }]) => ({
          id,
          at: alarmAt ?? this.#alarmsCutOff.get(id) ?? Infinity,
        }));
        const pacerAlarms = await this.#lookAtPacers();
        const next = Math.min(this.clock.nextAt ?? Infinity, ...[...alarms, ...pacerAlarms].map(({ at }) => at));
        if (next > limitAt()) {
          this.rules.broken(
            `not over after ${(limitAt() - this.startedAt) / MINUTE_MS} minutes: ${this.#describe(probes)}`,
          );
          return;
        }
        await this.#hibernate(next);
        this.clock.moveTo(next);
        for (const { id, at } of alarms) if (at <= Date.now()) this.#runAlarm(id);
        for (const { name, at } of pacerAlarms) if (at <= Date.now()) this.#runPacerAlarm(name);
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

  #begin(): void {
    this.clock.start(this.startedAt);
    const random = Random.of(this.scenario.seed, 6);
    vi.spyOn(Math, "random").mockImplementation(() => random.next());
    vi.spyOn(console, "log").mockImplementation(() => {});
    vi.spyOn(console, "error").mockImplementation(() => {});
    this.upstream.start();
    this.#sweepEvery();
    const chosen = Random.of(this.scenario.seed, 12);
    // Where batches run beside each other, some of them know what others have forgotten.
    const isChosen = () => this.batchIds.size < 2 || chosen.chance(0.5);
    const { quietAfterMs, evictions, consumerDeaths } = this.scenario;
    for (let at = this.startedAt; at < this.startedAt + quietAfterMs; at += SECOND_MS) {
      if (random.chance(evictions)) {
        this.clock.schedule(at, () => void this.busy("an eviction", () => this.evict(isChosen)));
      }
      if (random.chance(consumerDeaths)) this.clock.schedule(at, () => this.#consumers.killOne(random));
    }
  }

  #end(): void {
    this.#consumers.endAll();
    this.clock.stop();
    vi.restoreAllMocks();
  }

  async #settle(): Promise<void> {
    const deadline = performance.now() + MAX_SETTLE_MS;
    for (let calm = 0; calm < CALM_TURNS;) {
      if (performance.now() > deadline) throw new Error(`something hangs: ${this.#describeBusy()}`);
      if (this.#hasCrashed) await this.#crash();
      await yieldToOthers();
      this.#consumers.redeliver();
      calm = this.#busy.size === 0 && this.injector.pending === 0 ? calm + 1 : 0;
    }
  }

  /** What every object holds now; checks on the way that it holds nothing wrong. */
  async #look(): Promise<ReadonlyMap<string, Probe>> {
    const probes = new Map<string, Probe>();
    for (const id of this.batchIds) {
      const probe = await this.#probe(id);
      probes.set(id, probe);
      if (probe.record !== null) this.rules.noteStatus("the object", id, probe.record.status);
      await this.rules.checkChunks(id, probe);
    }
    return probes;
  }

  async #probe(id: string): Promise<Probe> {
    this.#evicted.delete(id);
    return probeCoordinator(id, this.#envs.coordinator);
  }

  async #lookAtPacers() {
    const alarms: { readonly name: string; readonly at: number }[] = [];
    for (const name of this.#pacers) {
      const { alarmAt } = await this.#probePacer(name);
      alarms.push({ name, at: alarmAt ?? Infinity });
    }
    return alarms;
  }

  #probePacer(name: string) {
    this.#evictedPacers.delete(name);
    return probePacer(name, this.#envs.pacer);
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

  #runPacerAlarm(name: string): void {
    void this.busy("a pacer's alarm", () => runPacerAlarm(name, this.#envs.pacer)).catch(() => {});
  }

  /** Everything in the memory of all objects is gone, in the middle of whatever they did. */
  async #crash(): Promise<void> {
    this.#hasCrashed = false;
    this.injector.forget("coordinator");
    this.injector.forget("pacer");
    for (const id of this.batchIds) this.#evicted.add(id);
    for (const name of this.#pacers) this.#evictedPacers.add(name);
    await abortAllDurableObjects();
  }

  /** Objects leave memory: all of them, or those that are chosen. */
  async evict(isChosen: () => boolean = () => true): Promise<void> {
    for (const id of this.batchIds) {
      if (!isChosen()) continue;
      this.#evictions += 1;
      await this.#evictOne(id);
    }
    for (const name of this.#pacers) {
      if (!isChosen()) continue;
      this.#evictedPacers.add(name);
      await evictDurableObject(env.PACERS.getByName(name)).catch(() => {});
    }
  }

  async #evictOne(id: string): Promise<void> {
    this.#evicted.add(id);
    // An object that is not in memory cannot be evicted.
    await evictDurableObject(env.COORDINATORS.getByName(id)).catch(() => {});
  }

  /** An object that nobody calls for ten seconds before `next` forgets what is not stored. */
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
    const { maxInFlight, linesPerInvocation, window, budgets } = this.scenario;
    return faultyEnv(env, {
      injector: this.injector,
      side,
      settings: {
        UPSTREAMS: Object.fromEntries(
          ["mock", "fine"].map((name) => [
            name,
            {
              kind: "http",
              base_url: `http://${name}.test/v1`,
              timeout_seconds: 5,
              max_in_flight: maxInFlight,
              ...budgets,
            },
          ]),
        ),
        DEFAULT_UPSTREAM: "mock",
        LINES_PER_INVOCATION: String(linesPerInvocation),
        CONSUMER_WAITS: "true",
        COMPLETION_WINDOWS: window,
      },
      queues: this.scenario.queues,
      send: (queue, message) => this.queue.send(queue, message),
      queueMetrics: (queue) => this.queue.metrics(queue),
      beforePacer: async (name) => {
        const isNew = !this.#pacers.has(name);
        this.#pacers.add(name);
        if (isNew || this.#evictedPacers.has(name)) await this.#probePacer(name);
      },
      beforeCoordinator: async (id) => {
        const isNew = !this.batchIds.has(id);
        this.batchIds.add(id);
        if (isNew || this.#evicted.has(id)) await this.#probe(id);
      },
      afterCoordinator: async (id) => {
        this.#lastActive.set(id, Date.now());
        this.rules.noteSettled(id, await this.#probe(id));
      },
      onReply: (id, token, reply) => this.rules.holders.noteReply(id, token, reply),
    });
  }
}
