/**
 * `npm run demo`: one batch from upload to download, with the official SDK against the real local stack and the
 * built-in `echo` upstream. Needs no account, no key and no network, and ends everything that it started.
 */
import { createReadStream } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { styleText } from "node:util";
import OpenAI from "openai";
import { type LocalStack, startLocalStack } from "./local-stack.ts";

const INPUT = path.resolve(import.meta.dirname, "../examples/requests.jsonl");
const RESULTS_FOLDER = path.resolve("nightshift-demo");
const POLL_MS = 150;
const PATIENCE_MS = 55_000;
const BAR_WIDTH = 30;
const FINAL_STATUSES: ReadonlySet<OpenAI.Batch["status"]> = new Set(["completed", "failed", "expired", "cancelled"]);

const interrupted = new AbortController();
for (const [signal, exitCode] of [
  ["SIGINT", 130],
  ["SIGTERM", 143],
  ["SIGHUP", 129],
] as const) {
  process.on(signal, () => {
    process.exitCode = exitCode;
    interrupted.abort(new Error(`ended by ${signal}`));
  });
}

try {
  await runDemo();
} catch (error) {
  process.exitCode ??= 1;
  const reason: unknown = interrupted.signal.aborted ? interrupted.signal.reason : error;
  console.error(`\n${reason instanceof Error ? reason.message : String(reason)}`);
}

async function runDemo(): Promise<void> {
  console.log("Starting workerd with R2, D1, Queues and Durable Objects ...");
  const startedAt = performance.now();
  const stack = await startLocalStack({ signal: interrupted.signal });
  try {
    console.log(`Ready at ${stack.origin} after ${secondsSince(startedAt)} s.`);
    await runBatch(stack);
  } finally {
    await stack.stop();
  }
}

async function runBatch(stack: LocalStack): Promise<void> {
  const client = new OpenAI({ baseURL: `${stack.origin}/v1`, apiKey: stack.apiKey });
  const input = await client.files.create({ file: createReadStream(INPUT), purpose: "batch" });
  console.log(`Uploaded ${path.relative(process.cwd(), INPUT)} (${input.bytes} bytes) as ${input.id}.`);

  const startedAt = performance.now();
  const created = await client.batches.create({
    input_file_id: input.id,
    endpoint: "/v1/chat/completions",
    completion_window: "24h",
  });
  console.log(`Created ${created.id}.`);
  const batch = await watch(client, created, startedAt);
  const seconds = secondsSince(startedAt);

  await mkdir(RESULTS_FOLDER, { recursive: true });
  const output = await download(client, batch.output_file_id, "output.jsonl");
  const errors = await download(client, batch.error_file_id, "errors.jsonl");
  printSummary(batch, Number(seconds));
  console.log(`output  ${output ?? "none: no line succeeded"}`);
  console.log(`errors  ${errors ?? "none: no line failed"}`);
  if (batch.status !== "completed") throw new Error(`the batch ended as ${batch.status}`);
}

/** Polls, and draws, until the batch is final. */
async function watch(client: OpenAI, created: OpenAI.Batch, startedAt: number): Promise<OpenAI.Batch> {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    const batch = await client.batches.retrieve(created.id, { signal: interrupted.signal });
    drawProgress(batch, startedAt);
    if (FINAL_STATUSES.has(batch.status)) return batch;
    if (Date.now() > deadline) throw new Error(`the batch is still ${batch.status} after ${PATIENCE_MS / 1000} s`);
    await delay(POLL_MS, undefined, { signal: interrupted.signal });
  }
}

/** One line that redraws itself; outside a terminal only the last state is printed. */
function drawProgress({ status, request_counts: counts }: OpenAI.Batch, startedAt: number): void {
  const isFinal = FINAL_STATUSES.has(status);
  if (!process.stdout.isTTY && !isFinal) return;
  const { total = 0, completed = 0, failed = 0 } = counts ?? {};
  const settled = completed + failed;
  const filled = total === 0 ? 0 : Math.round((settled / total) * BAR_WIDTH);
  const bar = styleText("green", "█".repeat(filled)) + styleText("dim", "░".repeat(BAR_WIDTH - filled));
  const rate = Math.round((settled / (performance.now() - startedAt)) * 1000);
  const line = `${bar} ${settled}/${total}  ${completed} completed  ${failed} failed  ${rate} lines/s  ${status}`;
  if (process.stdout.isTTY) process.stdout.write(`\r\u001B[K${line}`);
  if (isFinal) console.log(process.stdout.isTTY ? "" : line);
}

/** The path of the file; null when the batch has none of this kind. */
async function download(client: OpenAI, fileId: string | null | undefined, name: string): Promise<string | null> {
  if (typeof fileId !== "string") return null;
  const target = path.join(RESULTS_FOLDER, name);
  const response = await client.files.content(fileId);
  if (response.body === null) throw new Error(`${fileId} came without a body`);
  await writeFile(target, response.body);
  return path.relative(process.cwd(), target);
}

function printSummary(batch: OpenAI.Batch, seconds: number): void {
  const { total = 0, completed = 0, failed = 0 } = batch.request_counts ?? {};
  console.table({
    status: { value: batch.status },
    lines: { value: total },
    completed: { value: completed },
    failed: { value: failed },
    seconds: { value: seconds },
    "lines/s": { value: Math.round(total / seconds) },
    "input tokens": { value: batch.usage?.input_tokens ?? 0 },
    "output tokens": { value: batch.usage?.output_tokens ?? 0 },
  });
}

function secondsSince(startedAt: number): string {
  return ((performance.now() - startedAt) / 1000).toFixed(1);
}
