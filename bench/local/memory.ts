/**
 * What a consumer holds in memory at worst: five answers of the largest size that come together, measured in the Worker's
 * isolate, and answers of 4 MiB while R2 refuses for a minute, for which the Worker's own code runs in this process with
 * a bucket that refuses.
 */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import type { DispatchOrder } from "../../src/queue/dispatch-order.ts";
import { Invocation } from "../../src/queue/invocation.ts";
import { installWorkerModules } from "../edge/worker-modules.ts";
import { watchIsolate } from "../rig/isolate-memory.ts";
import { type BenchOptions, type Report, toMebibytes } from "../rig/report.ts";
import { runBatch, uploadInput, withRig } from "../rig/rig.ts";
import { median } from "../rig/statistics.ts";

const MIB = 1024 * 1024;
const SLOTS = 5;
const LARGEST_ANSWER_BYTES = 16 * MIB;
const REFUSED_ANSWER_BYTES = 4 * MIB;
const REFUSED_LINES = 50;
const REFUSES_FOR_MS = 60_000;
const SAMPLE_EVERY_MS = 500;
const STANDING = { servedAt: null, hasServed: false, isProbe: false, isStumbleFinal: false };
/** They come together, whenever their requests were sent. */
const LATENCY_MS = 1000;

export async function measureMemory({ rounds, signal, say }: BenchOptions): Promise<Report> {
  const together: number[] = [];
  const refused: number[] = [];
  for (let round = 1; round <= rounds; round += 1) {
    const peak = await measureTogether(signal);
    if (peak !== null) together.push(peak);
    refused.push(await measureRefused());
    say(`round ${round}: ${toMebibytes(peak)} MiB, ${toMebibytes(refused.at(-1) ?? null)} MiB`);
  }
  const rows = [
    ["five answers of 16 MiB at once: the isolate, garbage included", ...spread(together)],
    ["answers of 4 MiB while R2 refuses for a minute: live bytes", ...spread(refused)],
  ];
  const table = { title: "One consumer with five lines at once", head: ["", "median MiB", "most MiB"], rows };
  return { tables: [table], values: { together, refused } };
}

function measureTogether(signal: AbortSignal): Promise<number | null> {
  return withRig({ signal, variables: { LINES_PER_INVOCATION: String(SLOTS) } }, async (rig) => {
    const isolate = await watchIsolate(rig.inspectorPort);
    const inputFileId = await uploadInput(rig, { lines: SLOTS, lineBytes: 400 });
    await rig.upstream.configure({ answerBytes: LARGEST_ANSWER_BYTES, latencyMs: LATENCY_MS });
    isolate.takePeakBytes();
    await runBatch(rig, inputFileId);
    isolate.stop();
    return isolate.takePeakBytes();
  });
}

/** @returns the most live bytes beyond those before it. */
async function measureRefused(): Promise<number> {
  installWorkerModules();
  const { DispatchRun } = await import("../../src/queue/dispatch-run.ts");
  const fetchBefore = globalThis.fetch;
  const logBefore = console.log;
  const errorBefore = console.error;
  const answer = Buffer.from(JSON.stringify({ text: "x".repeat(REFUSED_ANSWER_BYTES - 11) }));
  globalThis.fetch = async () => new Response(answer, { headers: { "content-length": String(answer.length) } });
  const before = liveBytes();
  let most = before;
  const sampler = setInterval(() => (most = Math.max(most, liveBytes())), SAMPLE_EVERY_MS);
  console.log = console.error = () => {};
  try {
    await new DispatchRun(makeOrder(Date.now() + REFUSES_FOR_MS)).run();
  } finally {
    Object.assign(console, { log: logBefore, error: errorBefore });
    globalThis.fetch = fetchBefore;
    clearInterval(sampler);
  }
  return most - before;
}

function makeOrder(takesFrom: number): DispatchOrder {
  const text = '{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"m","messages":[]}}\n';
  const input = new TextEncoder().encode(text.repeat(REFUSED_LINES));
  const bucket = {
    get: () => Promise.resolve({ arrayBuffer: () => Promise.resolve(input.buffer) }),
    put: () => (Date.now() < takesFrom ? Promise.reject(new Error("R2 refuses")) : Promise.resolve(null)),
  };
  const lines = Array.from({ length: REFUSED_LINES }, (_, line) => ({ line, attempts: 0 }));
  const slice = { index: 0, firstLine: 0, lineCount: REFUSED_LINES, byteStart: 0, byteLength: input.length, lines };
  return {
    token: "token",
    claim: {
      kind: "run",
      slots: SLOTS,
      slices: [slice],
      mayHaveMore: false,
      standing: STANDING,
      isRoomWanted: false,
      starts: null,
      batch: {
        batchId: "batch_memory",
        endpoint: "/v1/chat/completions",
        upstream: "mock",
        inputFileId: "file-memory",
        expiresAt: new Date(Date.now() + 86_400_000),
        sealedKey: null,
      },
    },
    upstream: {
      kind: "http",
      name: "mock",
      baseUrl: "http://mock.test/v1",
      apiKey: null,
      models: null,
      timeoutSeconds: 600,
      maxInFlight: 64,
      requestsPerMinute: null,
      tokensPerMinute: null,
      guestCheckPath: null,
    },
    apiKey: null,
    isKeyUnreadable: false,
    invocation: new Invocation(SLOTS),
    bucket: bucket as unknown as R2Bucket,
    report: () => {
      const told = { mayHaveMore: false, standing: STANDING, isRoomWanted: false, starts: null };
      return Promise.resolve({ kind: "run", slots: SLOTS, slices: [], ...told });
    },
  };
}

/** Heap and buffers after a full collection. */
function liveBytes(): number {
  setFlagsFromString("--expose-gc");
  (runInNewContext("gc") as () => void)();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

function spread(bytes: readonly number[]): readonly (string | number)[] {
  if (bytes.length === 0) return ["unknown", "unknown"];
  return [toMebibytes(median(bytes)), toMebibytes(Math.max(...bytes))];
}
