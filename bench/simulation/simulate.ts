/** Runs a whole workload on the simulated edge and says what came of it. Deterministic for its seed. */
import { BatchCoordinator } from "../../src/batch/coordinator.ts";
import { type BatchRecord, NO_TIMES } from "../../src/domain/batch.ts";
import { UpstreamPacer } from "../../src/pacer/upstream-pacer.ts";
import { insertFile } from "../../src/stores/files.ts";
import { fileKey } from "../../src/stores/object-keys.ts";
import { openDatabase } from "../../src/stores/schema.ts";
import { seedRandom } from "../random.ts";
import { buildEdge, type Edge, type EdgeUpstream, type ObjectAlarm, routeFetch, sumOfQueues } from "../edge/edge.ts";
import { installFixedLengthStream, makeBucket } from "../edge/memory-bucket.ts";
import { UpstreamModel, type UpstreamCounts } from "../edge/upstream-model.ts";
import { VirtualClock } from "../edge/virtual-clock.ts";
import type { Scenario } from "./scenarios.ts";
import { makeDatabase, makeObjectStorage } from "../edge/sqlite.ts";
import { drawWorkload, type OrderedBatch, writeInput } from "./workload.ts";

export interface BatchOutcome {
  readonly order: OrderedBatch;
  /** From `create` until its files are there. */
  readonly seconds: number;
}

export interface Sample {
  readonly atSeconds: number;
  /** Messages that wait for a consumer. */
  readonly queueDepth: number;
  readonly consumers: number;
  readonly inFlight: number;
  readonly liveBatches: number;
  /** Settled since the last sample, a second. */
  readonly linesPerSecond: number;
}

export interface SimulationResult {
  readonly outcomes: readonly BatchOutcome[];
  readonly samples: readonly Sample[];
  readonly makespanSeconds: number;
  readonly lines: number;
  readonly upstreams: ReadonlyMap<string, UpstreamCounts>;
  readonly messages: number;
  /** Deliveries of dispatches that had already been given up. */
  readonly staleDeliveries: number;
  readonly exchanges: number;
  readonly objectRequests: number;
}

const START = new Date("2026-10-01T00:00:00Z");
const SAMPLE_MS = 10_000;
/** How long the platform's own answers take: round figures for calls within a region. */
const OBJECT_ROUND_TRIP_MS = 15;
const BUCKET_ROUND_TRIP_MS = 40;
const DATABASE_ROUND_TRIP_MS = 30;
/** developers.cloudflare.com/workers/platform/limits/#simultaneous-open-connections: six, one of them for storage. */
const LINES_PER_INVOCATION = 5;
const ENDPOINT = "/v1/chat/completions";

export async function simulate(scenario: Omit<Scenario, "name" | "title" | "slots">): Promise<SimulationResult> {
  const clock = new VirtualClock(START, finishTurn);
  const random = seedRandom(scenario.seed);
  const restoreClock = clock.install();
  const realRandom = Math.random;
  const realFetch = globalThis.fetch;
  const realDigest = crypto.subtle.digest.bind(crypto.subtle);
  const log = new LogReader();
  const restoreStream = installFixedLengthStream();
  try {
    Math.random = seedRandom(scenario.seed + 1);
    // The real one runs on another thread, and would come back at another moment in every run.
    crypto.subtle.digest = () => Promise.resolve(new ArrayBuffer(32));
    const upstreams = scenario.upstreams.map(({ name, maxInFlight, ...behaviour }): EdgeUpstream => {
      const model = new UpstreamModel({ clock, random, ...behaviour });
      return { name, model, maxInFlight };
    });
    globalThis.fetch = routeFetch(upstreams);
    const edge = buildEdge({
      clock,
      upstreams,
      linesPerInvocation: LINES_PER_INVOCATION,
      scaling: scenario.scaling,
      queues: scenario.queues ?? 1,
      bucket: makeBucket(() => clock.sleep(BUCKET_ROUND_TRIP_MS)),
      database: makeDatabase(() => clock.sleep(DATABASE_ROUND_TRIP_MS)),
      makeCoordinator: (name, alarm, env) => new BatchCoordinator(makeContext(name, alarm), env),
      makePacer: (name, alarm, env) => new UpstreamPacer(makeContext(name, alarm), env),
      travel: () => clock.sleep(OBJECT_ROUND_TRIP_MS),
    });
    log.install();
    const names = upstreams.map(({ name }) => name);
    const orders = scenario.orders ?? drawWorkload({ ...scenario.workload, random, upstreams: names });
    return await runWorkload({ clock, edge, upstreams, orders, log });
  } finally {
    log.remove();
    restoreStream();
    globalThis.fetch = realFetch;
    crypto.subtle.digest = realDigest;
    Math.random = realRandom;
    restoreClock();
  }
}

function makeContext(name: string, alarm: ObjectAlarm): DurableObjectState {
  return { id: { name }, storage: makeObjectStorage(alarm) } as unknown as DurableObjectState;
}

function finishTurn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

interface Run {
  readonly clock: VirtualClock;
  readonly edge: Edge;
  readonly upstreams: readonly EdgeUpstream[];
  readonly orders: readonly OrderedBatch[];
  readonly log: LogReader;
}

async function runWorkload({ clock, edge, upstreams, orders, log }: Run): Promise<SimulationResult> {
  const startedAt = clock.now;
  const samples: Sample[] = [];
  let settledBefore = 0;
  function takeSample(): void {
    samples.push({
      atSeconds: (clock.now - startedAt) / 1000,
      queueDepth: sumOfQueues(edge, "depth"),
      consumers: sumOfQueues(edge, "running"),
      inFlight: upstreams.reduce((sum, { model }) => sum + model.inFlight, 0),
      liveBatches: log.started - log.finished.size,
      linesPerSecond: (log.settledLines - settledBefore) / (SAMPLE_MS / 1000),
    });
    settledBefore = log.settledLines;
    clock.at(clock.now + SAMPLE_MS, takeSample);
  }
  clock.at(clock.now + SAMPLE_MS, takeSample);
  for (const order of orders) clock.at(startedAt + order.createdAfterMs, () => void createBatch(edge, order));
  await clock.runUntil(() => log.finished.size === orders.length);
  const outcomes = orders.map((order) => {
    const finishedAt = log.finished.get(order.id) ?? Number.NaN;
    return { order, seconds: (finishedAt - startedAt - order.createdAfterMs) / 1000 };
  });
  return {
    outcomes,
    samples,
    makespanSeconds: (clock.now - startedAt) / 1000,
    lines: orders.reduce((sum, { lines }) => sum + lines, 0),
    upstreams: new Map(upstreams.map(({ name, model }) => [name, model.counts])),
    messages: sumOfQueues(edge, "sent"),
    staleDeliveries: log.staleDeliveries,
    exchanges: log.exchanges,
    objectRequests: edge.objectRequests().calls + edge.objectRequests().alarms,
  };
}

async function createBatch(edge: Edge, { id, tenant, upstream, lines }: OrderedBatch): Promise<void> {
  const now = new Date();
  const inputFileId = `file-of-${id}`;
  const bytes = writeInput(lines);
  await edge.env.BUCKET.put(fileKey(inputFileId), bytes);
  const file = { id: inputFileId, tenant, purpose: "batch" as const, filename: "input.jsonl", bytes: bytes.length };
  // Deleted at once, so that its bytes go with the batch.
  await insertFile(await openDatabase(edge.env.DB), { ...file, createdAt: now, expiresAt: null });
  const batch: BatchRecord = {
    id,
    tenant,
    status: "validating",
    endpoint: ENDPOINT,
    inputFileId,
    completionWindow: "24h",
    upstream,
    model: null,
    metadata: null,
    errors: null,
    usage: null,
    outputFileId: null,
    errorFileId: null,
    outputExpiresAfterSeconds: null,
    counts: { total: 0, completed: 0, failed: 0 },
    createdAt: now,
    expiresAt: new Date(now.getTime() + 86_400_000),
    times: NO_TIMES,
  };
  const started = await edge.coordinatorOf(id).start({ batch, sealedKey: null });
  if (!started.ok) throw new Error(`${id} was not started`);
}

interface LogEntry {
  readonly event: string;
  readonly batch?: string;
  readonly status?: string;
  readonly end?: string;
  readonly completed?: number;
  readonly failed?: number;
  readonly exchanges?: number;
}

/** The service's own log is where the simulation learns what happens. */
class LogReader {
  readonly finished = new Map<string, number>();
  started = 0;
  settledLines = 0;
  staleDeliveries = 0;
  exchanges = 0;
  readonly #console = { log: console.log, error: console.error };

  install(): void {
    console.log = (text: string) => this.#take(JSON.parse(text) as LogEntry);
    console.error = (text: string) => {
      throw new Error(`the service reported a failure: ${text}`);
    };
  }

  remove(): void {
    Object.assign(console, this.#console);
  }

  #take({ event, batch, status, end, completed = 0, failed = 0, exchanges = 0 }: LogEntry): void {
    if (event === "batch_status" && status === "validating") this.started += 1;
    if (event === "batch_status" && status === "completed" && batch !== undefined) this.finished.set(batch, Date.now());
    if (event !== "dispatch") return;
    if (end === "unknown") this.staleDeliveries += 1;
    this.settledLines += completed + failed;
    this.exchanges += exchanges;
  }
}
