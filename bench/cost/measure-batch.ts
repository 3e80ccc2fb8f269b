/**
 * Runs one whole batch, from upload to download, with everything that is billed counted. To be called inside
 * a Durable Object in workerd: its SQLite and D1 are the real ones, since only they know their rows. R2 keeps
 * its bytes in memory, the queue, the alarm and the upstream follow a virtual clock: what is billed there is the
 * call.
 */
import { BatchCoordinator } from "../../src/batch/coordinator.ts";
import { app } from "../../src/http/app.ts";
import { UpstreamPacer } from "../../src/pacer/upstream-pacer.ts";
import { openDatabase } from "../../src/stores/schema.ts";
import { writeAnswer } from "../edge/answers.ts";
import { type Random, drawLogNormal, seedRandom } from "../random.ts";
import { buildEdge, type Edge, routeFetch, sumOfQueues } from "../edge/edge.ts";
import { installFixedLengthStream, makeBucket } from "../edge/memory-bucket.ts";
import { UpstreamModel } from "../edge/upstream-model.ts";
import { VirtualClock } from "../edge/virtual-clock.ts";
import { countBucket, countDatabase, countStorage } from "./counting-bindings.ts";
import { makePacerStorage } from "./pacer-storage.ts";
import { OBJECT_GIGABYTES } from "./prices.ts";
import { emptyTally, type Tally } from "./tally.ts";

export interface BatchSpec {
  readonly lines: number;
  readonly answerBytes: number;
  readonly meanLatencySeconds: number;
}

export interface BatchUse {
  readonly spec: BatchSpec;
  readonly tally: Tally;
  /** From the upload to the download, in virtual time. */
  readonly seconds: number;
  readonly dispatches: number;
  readonly exchanges: number;
  /** Calls and alarms of the objects, by class and method. */
  readonly objectCalls: Readonly<Record<string, number>>;
}

export interface Platform {
  readonly state: DurableObjectState;
  readonly database: D1Database;
}

/** As on the edge, and as wrangler.toml has it. */
const LINES_PER_INVOCATION = 5;
const MAX_IN_FLIGHT = 64;
/** How often a client asks for the status of its batch. */
const POLL_MS = 60_000;
const LATENCY_SIGMA = 0.7;
/** A cautious planning figure: what was measured (bench/cost/cpu.ts) is a fifth of it at most. */
const CPU_MS_PER_LINE = 3;
/** An object is billed while it works on a call: estimates, in milliseconds, for a call and for what it waits for. */
const OBJECT_CALL_MS = 10;
const OBJECT_STORAGE_CALL_MS = 40;
/** Without `describeLoad`, which is asked of silent batches alone, and called within `takeGrant`. */
const COORDINATOR_METHODS = ["start", "snapshot", "claim", "report", "takeGrant", "alarm"] as const;
const PACER_METHODS = ["tell", "alarm"] as const;
const PROMPT = "x".repeat(700);

export async function measureBatch({ state, database }: Platform, spec: BatchSpec): Promise<BatchUse> {
  const clock = new VirtualClock(new Date("2026-10-01T00:00:00Z"), settleByHops);
  const tally = emptyTally();
  const restore = [clock.install(), installFixedLengthStream()];
  const realFetch = globalThis.fetch;
  const realDigest = crypto.subtle.digest.bind(crypto.subtle);
  const log = { log: console.log, error: console.error };
  const failures: string[] = [];
  try {
    Object.assign(crypto.subtle, {
      digest: (...args: Parameters<SubtleCrypto["digest"]>) => clock.hold(realDigest(...args)),
    });
    console.log = () => {
      tally.logLines += 1;
    };
    console.error = (text: string) => failures.push(text);
    const model = new UpstreamModel({
      clock,
      random: seedRandom(1),
      drawLatencyMs: (random) => drawLatencyMs(random, spec.meanLatencySeconds),
      answer: writeAnswer(spec.answerBytes),
      capacity: null,
      capacityPerSecond: null,
      retryAfterSeconds: null,
    });
    const upstreams = [{ name: "mock", model, maxInFlight: MAX_IN_FLIGHT }];
    globalThis.fetch = routeFetch(upstreams);
    const use = await runBatch({ clock, state, database, tally, upstreams, spec });
    if (failures.length > 0) throw new Error(`the service reported failures: ${failures.join(" ")}`);
    return use;
  } finally {
    Object.assign(console, log);
    Object.assign(crypto.subtle, { digest: realDigest });
    globalThis.fetch = realFetch;
    for (const undo of restore) undo();
  }
}

interface BatchRun extends Platform {
  readonly clock: VirtualClock;
  readonly tally: Tally;
  readonly upstreams: Parameters<typeof routeFetch>[0];
  readonly spec: BatchSpec;
}

async function runBatch({ clock, state, database, tally, upstreams, spec }: BatchRun): Promise<BatchUse> {
  const hold = <Value>(call: Promise<Value>) => clock.hold(call);
  const bucket = makeBucket(arrive);
  const db = countDatabase(database, tally, hold);
  const storage = countStorage(state.storage, tally);
  const objectUse = emptyTally();
  const byMethod: Record<string, number> = {};
  let objectCalls = 0;
  function holdObjectCall<Value>(call: Promise<Value>): Promise<Value> {
    objectCalls += 1;
    return hold(call);
  }
  const edge = buildEdge({
    clock,
    upstreams,
    linesPerInvocation: LINES_PER_INVOCATION,
    scaling: "at_once",
    queues: 1,
    bucket: countBucket(bucket, tally),
    database: db,
    makeCoordinator: (_, alarm, env) => {
      const setAlarm = (timeMs: number) => {
        tally.objectRowsWritten += 1;
        alarm.set(timeMs);
        return Promise.resolve();
      };
      const deleteAlarm = () => {
        tally.objectRowsWritten += 1;
        alarm.clear();
        return Promise.resolve();
      };
      Object.assign(state.storage, { setAlarm, deleteAlarm });
      const BUCKET = countBucket(countBucket(bucket, tally), objectUse);
      const own = { ...env, BUCKET, DB: countDatabase(database, tally, holdObjectCall) };
      const object = new BatchCoordinator(state, own);
      const wake = object.alarm.bind(object);
      object.alarm = () => clock.hold(wake());
      return countMethods(object, COORDINATOR_METHODS, byMethod);
    },
    makePacer: (name, alarm, env) => {
      // The platform's class takes no other state than one of its own.
      const ctx = Object.create(state, {
        id: { value: { name } },
        storage: { value: makePacerStorage(alarm, tally) },
      }) as DurableObjectState;
      const pacer = new UpstreamPacer(ctx, env);
      const wake = pacer.alarm.bind(pacer);
      pacer.alarm = () => clock.hold(wake());
      return countMethods(pacer, PACER_METHODS, byMethod);
    },
    travel: arrive,
  });
  // Once an isolate, not once a batch.
  await openDatabase(edge.env.DB);
  Object.assign(tally, emptyTally());
  const startedAt = clock.now;
  const client = new Client(edge, clock, tally);
  const batchId = await client.startBatch(spec.lines);
  await client.waitForBatch(batchId);
  storage.finish();
  const { calls, alarms } = edge.objectRequests();
  tally.objectRequests += calls + alarms;
  const waits = objectCalls + objectUse.bucketClassA + objectUse.bucketClassB;
  tally.objectGigabyteSeconds +=
    (((calls + alarms) * OBJECT_CALL_MS + waits * OBJECT_STORAGE_CALL_MS) / 1000) * OBJECT_GIGABYTES;
  // A message is written, read at each delivery, and deleted; each is far below 64 KB.
  const [sent, deliveries] = [sumOfQueues(edge, "sent"), sumOfQueues(edge, "deliveries")];
  tally.queueOperations += 2 * sent + deliveries;
  tally.workerRequests += deliveries;
  tally.cpuMs += CPU_MS_PER_LINE * spec.lines;
  return {
    spec,
    tally,
    seconds: (clock.now - startedAt) / 1000,
    dispatches: sent,
    exchanges: calls,
    objectCalls: byMethod,
  };
}

/** Replaces those methods of the object by ones that count. */
function countMethods<Target extends object>(
  target: Target,
  names: readonly (keyof Target & string)[],
  counts: Record<string, number>,
): Target {
  for (const name of names) {
    const method = target[name];
    if (typeof method !== "function") continue;
    const key = `${target.constructor.name}.${name}`;
    const counted = (...args: unknown[]): unknown => {
      counts[key] = (counts[key] ?? 0) + 1;
      return Reflect.apply(method, target, args);
    };
    Object.assign(target, { [name]: counted });
  }
  return target;
}

/** The client: uploads, creates, polls, downloads. */
class Client {
  readonly #edge: Edge;
  readonly #clock: VirtualClock;
  readonly #tally: Tally;

  constructor(edge: Edge, clock: VirtualClock, tally: Tally) {
    this.#edge = edge;
    this.#clock = clock;
    this.#tally = tally;
  }

  async startBatch(lines: number): Promise<string> {
    const boundary = "----cost";
    const head = `--${boundary}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--${boundary}\r\nContent-Disposition: form-data; name="file"; filename="i.jsonl"\r\n\r\n`;
    const body = `${head}${writeLines(lines)}\r\n--${boundary}--\r\n`;
    const contentType = `multipart/form-data; boundary=${boundary}`;
    const file = await this.#ask("/v1/files", { method: "POST", body, headers: { "content-type": contentType } });
    const order = { input_file_id: file["id"], endpoint: "/v1/chat/completions", completion_window: "24h" };
    const batch = await this.#ask("/v1/batches", { method: "POST", body: JSON.stringify(order) });
    return String(batch["id"]);
  }

  async waitForBatch(id: string): Promise<void> {
    let next = 0;
    let batch: Record<string, unknown> = {};
    while (batch["status"] !== "completed") {
      next = this.#clock.now + POLL_MS;
      let isTime = false;
      this.#clock.at(next, () => {
        isTime = true;
      });
      await this.#clock.runUntil(() => isTime);
      batch = await this.#ask(`/v1/batches/${id}`);
    }
    await this.#request(`/v1/files/${String(batch["output_file_id"])}/content`, {}, { method: "HEAD" });
    // The bytes themselves are not kept here: one read.
    this.#tally.bucketClassB += 1;
  }

  async #ask(path: string, init: RequestInit = {}): Promise<Record<string, unknown>> {
    const { headers, ...rest } = init;
    const response = await this.#request(path, (headers ?? {}) as Record<string, string>, rest);
    if (!response.ok) throw new Error(`${path} was answered ${response.status}: ${await response.text()}`);
    return response.json<Record<string, unknown>>();
  }

  async #request(path: string, headers: Readonly<Record<string, string>>, init: RequestInit): Promise<Response> {
    this.#tally.workerRequests += 1;
    const request = new Request(`https://nightshift.test${path}`, {
      ...init,
      headers: { authorization: "Bearer sk-bench", ...headers },
    });
    return this.#clock.hold(Promise.resolve(app.fetch(request, this.#edge.env)));
  }
}

function drawLatencyMs(random: Random, meanSeconds: number): number {
  const median = (meanSeconds * 1000) / Math.exp(LATENCY_SIGMA ** 2 / 2);
  return drawLogNormal(random, { median, sigma: LATENCY_SIGMA, least: 50, most: 60_000 });
}

function writeLines(lines: number): string {
  const content = JSON.stringify(PROMPT);
  return Array.from(
    { length: lines },
    (_, line) =>
      `{"custom_id":"line-${line}","method":"POST","url":"/v1/chat/completions","body":{"model":"m","messages":[{"role":"user","content":${content}}]}}`,
  ).join("\n");
}

/** Here the platform takes no time: only its calls are counted. */
function arrive(): Promise<void> {
  return Promise.resolve();
}

/** Nothing but promises is under way here: 150 steps are enough for the longest chain of them. */
async function settleByHops(): Promise<void> {
  for (let hop = 0; hop < 150; hop += 1) await Promise.resolve();
}
