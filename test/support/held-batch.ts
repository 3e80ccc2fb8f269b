/**
 * A batch that is held: the clock shows a year in which no alarm fires by itself, the queue keeps its messages, and
 * a test does by hand what alarms and consumers do. The object, R2 and D1 are real.
 */
import { env } from "cloudflare:workers";
import { runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { afterEach, beforeEach, vi } from "vitest";
import type { BatchRecord, Usage } from "../../src/domain/batch.ts";
import type { ChunkLine } from "../../src/domain/chunk.ts";
import type { ClaimReply, Dispatch, QueueMessage, Report, ReportReply } from "../../src/domain/conversation.ts";
import type { ClaimedSlice } from "../../src/domain/slices.ts";
import { NOTHING_SPENT } from "../../src/domain/spending.ts";
import { findBatch } from "../../src/stores/batches.ts";
import { findFile, insertFile } from "../../src/stores/files.ts";
import { chunkKey, chunkPrefix, fileKey } from "../../src/stores/object-keys.ts";
import { openDatabase } from "../../src/stores/schema.ts";
import { aBatch } from "./batch-record.ts";
import { clearPacers } from "./pacers.ts";

export const NOON = new Date("2040-01-01T12:00:00Z");
const DAY_SECONDS = 86_400;

const heldDispatches: Dispatch[] = [];

type FakeTimer = "Date" | "setTimeout" | "clearTimeout";

/** To be called once in a test file: holds clock and queue before each test, and lets them go after it. */
export function holdClockAndQueue(toFake: FakeTimer[] = ["Date"]): void {
  beforeEach(() => {
    vi.useFakeTimers({ toFake, now: NOON });
    heldDispatches.length = 0;
    vi.spyOn(env.DISPATCHES, "sendBatch").mockImplementation((messages) => {
      const bodies = [...messages].map(({ body }) => body as QueueMessage);
      heldDispatches.push(...bodies.filter((body) => "token" in body));
      return Promise.resolve({ metadata: { metrics: { backlogCount: 0, backlogBytes: 0 } } });
    });
  });
  afterEach(async () => {
    vi.restoreAllMocks();
    vi.useRealTimers();
    // What a test leaves running would contend for its upstream with the batches of the next.
    await clearPacers();
  });
}

/** A further dispatch queue, to be given as `DISPATCHES_2` and so on: what is sent to it counts as sent for its batch. */
export function heldQueue() {
  const messages: QueueMessage[] = [];
  const sendBatch = vi.fn<(sent: Iterable<{ readonly body: QueueMessage }>) => Promise<void>>((sent) => {
    const bodies = [...sent].map(({ body }) => body);
    messages.push(...bodies);
    heldDispatches.push(...bodies.filter((body) => "token" in body));
    return Promise.resolve();
  });
  const metrics = vi.fn<() => Promise<QueueMetrics>>(() => Promise.resolve({ backlogCount: 0, backlogBytes: 0 }));
  return { messages, sendBatch, metrics };
}

export function passSeconds(seconds: number): void {
  vi.setSystemTime(Date.now() + seconds * 1000);
}

type BucketCall = "get" | "put" | "list" | "delete";

/** Does something while the next such call to R2 is under way, before it is made. */
export function interrupt(call: BucketCall, action: () => Promise<unknown>): void {
  const make = env.BUCKET[call].bind(env.BUCKET) as (...args: unknown[]) => Promise<unknown>;
  const interrupted = async (...args: unknown[]) => {
    await action();
    return make(...args);
  };
  vi.spyOn(env.BUCKET, call).mockImplementationOnce(interrupted as never);
}

export function inputLine(number: number): string {
  return JSON.stringify({
    custom_id: `line-${number}`,
    method: "POST",
    url: "/v1/chat/completions",
    body: { model: "some-model", messages: [{ role: "user", content: `Question ${number}` }] },
  });
}

export interface HeldBatchOptions {
  /** How many good lines. */
  readonly lines: number;
  /** In place of them. */
  readonly input: string | null;
  readonly upstream: string;
  readonly sealedKey: string | null;
  readonly windowSeconds: number;
  /** Variables in place of the deployment's, until the object is evicted. */
  readonly settings: Readonly<Record<string, unknown>>;
  /** Another batch, whose tenant and file this one shares. */
  readonly beside: HeldBatch | null;
}

/** What a consumer holds after a claim. */
export interface Work {
  readonly token: string;
  readonly slices: readonly ClaimedSlice[];
}

export class HeldBatch {
  readonly record: BatchRecord;
  readonly #sealedKey: string | null;

  private constructor(record: BatchRecord, sealedKey: string | null) {
    this.record = record;
    this.#sealedKey = sealedKey;
  }

  /** Stores the input and writes the record; the coordinator knows nothing yet. */
  static async prepare(options: Partial<HeldBatchOptions> = {}): Promise<HeldBatch> {
    const { beside = null, upstream = "echo", sealedKey = null, windowSeconds = DAY_SECONDS } = options;
    const tenant = beside?.record.tenant ?? `tenant-${crypto.randomUUID()}`;
    const inputFileId = beside?.record.inputFileId ?? `file-${crypto.randomUUID()}`;
    if (beside === null) {
      const lines = Array.from({ length: options.lines ?? 3 }, (_, number) => inputLine(number));
      await storeInput(tenant, inputFileId, options.input ?? `${lines.join("\n")}\n`);
    }
    const now = new Date();
    const record = aBatch({
      tenant,
      inputFileId,
      upstream,
      metadata: { purpose: "a test" },
      createdAt: now,
      expiresAt: new Date(now.getTime() + windowSeconds * 1000),
    });
    return new HeldBatch(record, sealedKey);
  }

  /** Started, and not looked at yet. */
  static async start(options: Partial<HeldBatchOptions> = {}): Promise<HeldBatch> {
    const batch = await HeldBatch.prepare(options);
    if (options.settings !== undefined) await batch.setSettings(options.settings);
    await batch.begin();
    return batch;
  }

  /** Started and validated, with its first dispatches in the queue. */
  static async launch(options: Partial<HeldBatchOptions> = {}): Promise<HeldBatch> {
    const batch = await HeldBatch.start(options);
    await batch.alarm();
    return batch;
  }

  /** The same with another record. */
  with(change: Partial<BatchRecord>): HeldBatch {
    return new HeldBatch({ ...this.record, ...change }, this.#sealedKey);
  }

  /** The same with a provider's own key. */
  sealed(sealedKey: string): HeldBatch {
    return new HeldBatch(this.record, sealedKey);
  }

  async setSettings(settings: Readonly<Record<string, unknown>>): Promise<void> {
    const set = (instance: object) =>
      Reflect.set(instance, "env", { ...(Reflect.get(instance, "env") as Env), ...settings });
    await runInDurableObject(this.stub, set);
    await runInDurableObject(this.pacer, set);
  }

  get pacer() {
    return env.PACERS.getByName(this.record.upstream);
  }

  async begin(): Promise<void> {
    const started = await this.stub.start({ batch: this.record, sealedKey: this.#sealedKey });
    if (!started.ok) throw new Error("the batch was not started");
  }

  get id(): string {
    return this.record.id;
  }

  get stub() {
    return env.COORDINATORS.getByName(this.id);
  }

  /** Tokens of all dispatches that were sent so far. */
  get tokens(): readonly string[] {
    return heldDispatches.filter(({ batchId }) => batchId === this.id).map(({ token }) => token);
  }

  get lastToken(): string {
    return this.tokens.at(-1) ?? "none was sent";
  }

  /** @returns false when there was none. */
  alarm(): Promise<boolean> {
    return runDurableObjectAlarm(this.stub);
  }

  alarmTime(): Promise<number | null> {
    return runInDurableObject(this.stub, (_, state) => state.storage.getAlarm());
  }

  /** As if the platform had dropped it; the object does not know. */
  loseAlarm(): Promise<void> {
    return runInDurableObject(this.stub, (_, state) => state.storage.deleteAlarm());
  }

  async status(): Promise<string | null> {
    return (await this.snapshot())?.status ?? null;
  }

  snapshot(): Promise<BatchRecord | null> {
    return this.stub.snapshot();
  }

  claim(token = this.lastToken): Promise<ClaimReply> {
    return this.stub.claim(token);
  }

  /** Claims what must be there. */
  async take(token = this.lastToken): Promise<Work> {
    const claim = await this.claim(token);
    if (claim.kind !== "run") throw new Error(`the claim was answered ${claim.kind}`);
    return { token, slices: claim.slices };
  }

  report(report: Partial<Report> & Pick<Report, "token">): Promise<ReportReply> {
    return this.stub.report({
      chunk: null,
      usage: null,
      givenBack: [],
      answers: 0,
      pressured: 0,
      wantedLines: 0,
      phase: "working",
      inputMissing: false,
      spent: NOTHING_SPENT,
      ...report,
    });
  }

  /** Stores a result for each line of the work and reports it; those in `failed` failed. */
  async settle(work: Work, more: Partial<Report> & { readonly failed?: readonly number[] } = {}): Promise<ReportReply> {
    const { failed = [], ...report } = more;
    const numbers = work.slices.flatMap(({ lines }) => lines.map(({ line }) => line));
    const lines: ChunkLine[] = [];
    const texts: string[] = [];
    for (const line of numbers.toSorted((a, b) => Number(failed.includes(a)) - Number(failed.includes(b)) || a - b)) {
      const text = `${JSON.stringify({ custom_id: `line-${line}`, by: work.token })}\n`;
      texts.push(text);
      lines.push({ line, bytes: text.length, result: failed.includes(line) ? "failed" : "completed" });
    }
    const key = report.chunk?.key ?? chunkKey(this.id, crypto.randomUUID());
    await env.BUCKET.put(key, texts.join(""));
    return this.report({ token: work.token, ...report, chunk: { key, lines } });
  }

  /** D1's copy. */
  async row(): Promise<BatchRecord | null> {
    return findBatch(await openDatabase(env.DB), this.record.tenant, this.id);
  }

  async file(id: string | null | undefined) {
    if (id === null || id === undefined) return null;
    return findFile(await openDatabase(env.DB), { tenant: this.record.tenant, id, now: new Date() });
  }

  /** The lines of a result file, parsed. */
  async readLines(id: string | null | undefined): Promise<readonly Record<string, unknown>[]> {
    const object = await env.BUCKET.get(fileKey(id ?? "none"));
    if (object === null) return [];
    const text = await object.text();
    return text
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  }

  async chunkKeys(): Promise<readonly string[]> {
    const { objects } = await env.BUCKET.list({ prefix: chunkPrefix(this.id) });
    return objects.map(({ key }) => key);
  }

  /** Names of the tables that the object still has. */
  tables(): Promise<readonly unknown[]> {
    return this.query("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '\\_%' ESCAPE '\\'");
  }

  query(sql: string): Promise<readonly Record<string, SqlStorageValue>[]> {
    return runInDurableObject(this.stub, (_, state) => state.storage.sql.exec(sql).toArray());
  }
}

export const SOME_USAGE: Usage = {
  inputTokens: 10,
  cachedTokens: 2,
  outputTokens: 5,
  reasoningTokens: 1,
  totalTokens: 15,
};

async function storeInput(tenant: string, id: string, text: string): Promise<void> {
  const bytes = new TextEncoder().encode(text);
  await env.BUCKET.put(fileKey(id), bytes);
  await insertFile(await openDatabase(env.DB), {
    id,
    tenant,
    purpose: "batch",
    filename: "input.jsonl",
    bytes: bytes.length,
    createdAt: new Date(),
    expiresAt: null,
  });
}
