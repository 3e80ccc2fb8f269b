/**
 * An OpenAI-compatible server in a process of its own, told by its parent over IPC how to answer. It does as
 * little as a server can: request bodies are read and dropped, and the answer is made once. Latency is fixed or
 * long-tailed. It has a limited number of slots, as a model server has: a request that finds no free slot waits.
 * It reports how full its slots were.
 */
import { once } from "node:events";
import { createServer, type ServerResponse } from "node:http";
import { drawLogNormal, seedRandom } from "../random.ts";
import type { MockAnswer, MockOrder, MockSettings, MockStatistics } from "./mock-upstream-messages.ts";

const DEFAULTS: MockSettings = { latencyMs: 0, tailSigma: 0, slots: 0, errorShare: 0, answerBytes: 400, seed: 1 };
/** No answer takes longer than this many times the median. */
const MAX_LATENCY_FACTOR = 60;
const ERROR = Buffer.from('{"error":{"message":"mock failure","type":"server_error","param":null,"code":null}}');

let settings = DEFAULTS;
let answer = makeAnswer(settings.answerBytes);
let random = seedRandom(settings.seed);
let waiting: (() => void)[] = [];
let busySlots = 0;
/** At index n: the milliseconds during which n requests were in flight. */
let msAtInFlight: number[] = [];
let inFlight = 0;
let changedAt = 0;
let firstAt: number | null = null;
let lastAt = 0;
let requests = 0;
let errors = 0;

const server = createServer((request, response) => {
  enter();
  // An aborted request leaves its place too.
  response.once("close", leave);
  request.once("end", () => takeSlot(() => work(response)));
  request.resume();
});
server.keepAliveTimeout = 60_000;
server.listen(0, "127.0.0.1");
await once(server, "listening");
const address = server.address();
if (address === null || typeof address === "string") throw new Error("the system gave no port");
tell({ kind: "ready", port: address.port });

process.on("message", (order: MockOrder) => {
  if (order.kind === "configure") configure(order.settings);
  else tell({ kind: "statistics", statistics: readStatistics() });
});
process.on("disconnect", () => process.exit());

function configure(change: Partial<MockSettings>): void {
  settings = { ...DEFAULTS, ...change };
  answer = makeAnswer(settings.answerBytes);
  random = seedRandom(settings.seed);
  waiting = [];
  busySlots = 0;
  msAtInFlight = [];
  firstAt = null;
  requests = 0;
  errors = 0;
  tell({ kind: "configured" });
}

function enter(): void {
  const now = performance.now();
  if (firstAt === null) firstAt = now;
  else account(now);
  changedAt = now;
  inFlight += 1;
  requests += 1;
}

function leave(): void {
  const now = performance.now();
  account(now);
  changedAt = now;
  lastAt = now;
  inFlight -= 1;
}

function account(now: number): void {
  msAtInFlight[inFlight] = (msAtInFlight[inFlight] ?? 0) + now - changedAt;
}

function takeSlot(start: () => void): void {
  if (settings.slots > 0 && busySlots >= settings.slots) {
    waiting.push(start);
    return;
  }
  busySlots += 1;
  start();
}

function work(response: ServerResponse): void {
  const latencyMs = drawLatencyMs();
  if (latencyMs === 0) finish(response);
  else setTimeout(() => finish(response), latencyMs);
}

function finish(response: ServerResponse): void {
  busySlots -= 1;
  const next = waiting.shift();
  if (next !== undefined) takeSlot(next);
  const isError = settings.errorShare > 0 && random() < settings.errorShare;
  if (isError) errors += 1;
  const body = isError ? ERROR : answer;
  response.writeHead(isError ? 500 : 200, { "content-type": "application/json", "content-length": body.length });
  response.end(body);
}

/** Log-normal with the median `latencyMs`; a sigma of 1 puts one answer in a hundred beyond ten times that. */
function drawLatencyMs(): number {
  const { latencyMs, tailSigma } = settings;
  if (latencyMs === 0 || tailSigma === 0) return latencyMs;
  return drawLogNormal(random, {
    median: latencyMs,
    sigma: tailSigma,
    least: 0,
    most: latencyMs * MAX_LATENCY_FACTOR,
  });
}

function readStatistics(): MockStatistics {
  return { requests, errors, ms: firstAt === null ? 0 : lastAt - firstAt, msAtInFlight: [...msAtInFlight] };
}

function makeAnswer(bytes: number): Buffer {
  const usage = '{"prompt_tokens":40,"completion_tokens":60,"total_tokens":100}';
  const head = `{"id":"chatcmpl-mock","object":"chat.completion","created":1,"model":"mock","usage":${usage},"choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"`;
  const tail = '"}}]}';
  return Buffer.from(
    head + "An answer. ".repeat(bytes).slice(0, Math.max(0, bytes - head.length - tail.length)) + tail,
  );
}

function tell(message: MockAnswer): void {
  process.send?.(message);
}
