/** What the benchmarks in bench/local run on: the real local stack, the mock upstream beside it, and the official SDK. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import OpenAI, { toFile } from "openai";
import { startLocalStack } from "../../scripts/local-stack.ts";
import { type InputShape, makeInput } from "./input.ts";
import { type ProcessWatch, watchProcesses } from "./processes.ts";
import { startUpstream, type Upstream } from "./mock-upstream-control.ts";
import { WorkerLog } from "./worker-log.ts";

export interface Rig {
  readonly origin: string;
  readonly apiKey: string;
  readonly inspectorPort: number;
  readonly client: OpenAI;
  readonly upstream: Upstream;
  readonly log: WorkerLog;
  readonly processes: ProcessWatch;
  /** For input and result files; it is removed when the rig stops. */
  readonly folder: string;
  readonly stop: () => Promise<void>;
}

export interface RigOptions {
  readonly variables?: Readonly<Record<string, string>>;
  readonly storage?: string;
  readonly signal: AbortSignal;
}

export interface BatchRun {
  readonly batch: OpenAI.Batch;
  /** From asking for the batch to its final status in D1. */
  readonly ms: number;
}

/** The stack knows the mock upstream under one name for each of these: `mock-64`, `mock-96`. */
const MAX_IN_FLIGHT_SETTINGS = [64, 96];
export const DEFAULT_MAX_IN_FLIGHT = 64;

async function startRig({ variables = {}, storage, signal }: RigOptions): Promise<Rig> {
  const folder = mkdtempSync(path.join(tmpdir(), "nightshift-bench-"));
  const upstream = await startUpstream();
  const log = new WorkerLog();
  const upstreams = Object.fromEntries(
    MAX_IN_FLIGHT_SETTINGS.map((maxInFlight) => [
      upstreamNameOf(maxInFlight),
      { kind: "http", base_url: upstream.baseUrl, max_in_flight: maxInFlight },
    ]),
  );
  async function stopUpstream(): Promise<void> {
    await upstream.stop();
    rmSync(folder, { recursive: true, force: true });
  }
  try {
    const stack = await startLocalStack({
      variables: {
        UPSTREAMS: JSON.stringify(upstreams),
        DEFAULT_UPSTREAM: upstreamNameOf(DEFAULT_MAX_IN_FLIGHT),
        ...variables,
      },
      ...(storage === undefined ? {} : { storage }),
      onPrint: (text) => log.add(text),
      signal,
    });
    const processes = watchProcesses(stack.pid);
    return {
      origin: stack.origin,
      apiKey: stack.apiKey,
      inspectorPort: stack.inspectorPort,
      client: new OpenAI({ baseURL: `${stack.origin}/v1`, apiKey: stack.apiKey, maxRetries: 0 }),
      upstream,
      log,
      processes,
      folder,
      stop: async () => {
        processes.stop();
        await stack.stop();
        await stopUpstream();
      },
    };
  } catch (error) {
    await stopUpstream();
    throw error;
  }
}

/** Runs `work` with a rig that is stopped afterwards, whatever happens; the signal ends it in the middle. */
export async function withRig<Value>(options: RigOptions, work: (rig: Rig) => Promise<Value>): Promise<Value> {
  const rig = await startRig(options);
  const { promise: ended, reject } = Promise.withResolvers<never>();
  const end = () => reject(options.signal.reason as Error);
  options.signal.addEventListener("abort", end);
  try {
    return await Promise.race([work(rig), ended]);
  } finally {
    options.signal.removeEventListener("abort", end);
    await rig.stop();
  }
}

/** @returns the id of the uploaded file. */
export async function uploadInput({ client }: Rig, shape: InputShape): Promise<string> {
  const file = await toFile(Buffer.concat([...makeInput(shape)]), "input.jsonl");
  return (await client.files.create({ file, purpose: "batch" })).id;
}

/** @throws Error when the batch does not complete with every line. */
export async function runBatch(rig: Rig, inputFileId: string, maxInFlight = DEFAULT_MAX_IN_FLIGHT): Promise<BatchRun> {
  const startedAt = performance.now();
  const { id } = await createBatch(rig.client, inputFileId, maxInFlight);
  const { at } = await rig.log.untilFinal(id);
  return { batch: await requireWhole(rig.client, id), ms: at - startedAt };
}

export function createBatch(
  client: OpenAI,
  inputFileId: string,
  maxInFlight = DEFAULT_MAX_IN_FLIGHT,
): Promise<OpenAI.Batch> {
  return client.batches.create(
    { input_file_id: inputFileId, endpoint: "/v1/chat/completions", completion_window: "24h" },
    { headers: { "x-portkey-provider": upstreamNameOf(maxInFlight) } },
  );
}

/** @throws Error when the batch has not completed, or not with every line. */
export async function requireWhole(client: OpenAI, batchId: string): Promise<OpenAI.Batch> {
  const batch = await client.batches.retrieve(batchId);
  const { total = 0, completed = 0, failed = 0 } = batch.request_counts ?? {};
  if (batch.status === "completed" && total === completed + failed && total > 0) return batch;
  throw new Error(`${batch.id} ended as ${batch.status}: ${JSON.stringify(batch.request_counts)}`);
}

function upstreamNameOf(maxInFlight: number): string {
  return `mock-${maxInFlight}`;
}
