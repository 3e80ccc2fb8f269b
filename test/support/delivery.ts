/**
 * Delivers messages to the consumer by hand, and stands in for the upstream. Timers are the test's: they run much
 * faster than they say, while R2, D1 and the coordinator take the time they take.
 */
import { env } from "cloudflare:workers";
import { createExecutionContext, createMessageBatch, getQueueResult } from "cloudflare:test";
import { vi } from "vitest";
import type { Report } from "../../src/domain/conversation.ts";
import { consumeQueue } from "../../src/queue/consumer.ts";
import type { HeldBatch } from "./held-batch.ts";

export interface Delivery {
  readonly queue?: string;
  /** Variables in place of the deployment's. */
  readonly settings?: Readonly<Record<string, string>>;
  readonly attempts?: number;
  /** How far timers go while R2 and the like take a moment. */
  readonly stepMs?: number;
}

const STEP_MS = 50;
const HALF_A_MINUTE_MS = 30_000;

/** Lets timers run until the work is done. */
async function runToEnd<Value>(work: Promise<Value>, stepMs: number): Promise<Value> {
  const state = { isDone: false };
  const done = work.finally(() => {
    state.isDone = true;
  });
  done.catch(() => {});
  while (!state.isDone) {
    await scheduler.wait(1);
    await vi.advanceTimersByTimeAsync(stepMs);
  }
  return done;
}

/** @returns what became of the messages. */
export async function deliver(bodies: readonly unknown[], delivery: Delivery = {}) {
  const { queue = "nightshift-dispatches", settings = {}, attempts = 1, stepMs = STEP_MS } = delivery;
  const messages = bodies.map((body, index) => ({ id: `message-${index}`, timestamp: new Date(), attempts, body }));
  const batch = createMessageBatch(queue, messages);
  const ctx = createExecutionContext();
  const retried: unknown[] = [];
  for (const { id, retry } of batch.messages.map((message) => ({
    id: message.id,
    retry: vi.spyOn(message, "retry"),
  }))) {
    retry.mockImplementation((options) => retried.push({ id, delaySeconds: options?.delaySeconds }));
  }
  await runToEnd(consumeQueue(batch, { ...env, CONSUMER_WAITS: "true", ...settings }, ctx), stepMs);
  const { explicitAcks } = await getQueueResult(batch, ctx);
  return { acked: explicitAcks, retried };
}

/** Delivers the last dispatch that was sent for the batch. */
export function deliverLast(batch: HeldBatch, delivery: Delivery = {}) {
  return deliver([{ batchId: batch.id, token: batch.lastToken }], delivery);
}

/** By alarm and dispatch, until the object is gone. */
export async function workToTheEnd(batch: HeldBatch, settings: Readonly<Record<string, string>> = {}): Promise<void> {
  const delivered = new Set<string>();
  for (let passes = 0; passes < 60; passes += 1) {
    const alarmTime = await batch.alarmTime();
    if (alarmTime === null) return;
    vi.setSystemTime(Math.max(alarmTime, Date.now() + HALF_A_MINUTE_MS));
    await batch.alarm();
    for (const token of batch.tokens.filter((sent) => !delivered.has(sent))) {
      delivered.add(token);
      await deliver([{ batchId: batch.id, token }], { settings });
    }
  }
}

export interface SentRequest {
  readonly url: string;
  readonly headers: Headers;
  readonly body: string;
  /** From `line-7`'s prompt: 7. */
  readonly line: number;
  /** How often this line was sent, this time included. */
  readonly tries: number;
}

/** Answers every request to an upstream; keeps what was sent. */
export function standInForUpstream(answer: (request: SentRequest) => Response | Promise<Response>): SentRequest[] {
  const sent: SentRequest[] = [];
  vi.spyOn(globalThis, "fetch").mockImplementation(async (input, init) => {
    const request = new Request(input, init);
    const body = await request.text();
    const line = Number(/Question (\d+)/.exec(body)?.[1] ?? -1);
    const tries = 1 + sent.filter((earlier) => earlier.line === line).length;
    const one: SentRequest = { url: request.url, headers: request.headers, body, line, tries };
    sent.push(one);
    return answer(one);
  });
  return sent;
}

export function answerOk(): Response {
  return Response.json({
    object: "chat.completion",
    usage: { prompt_tokens: 2, completion_tokens: 3, total_tokens: 5 },
  });
}

export function answerStatus(status: number, headers: Readonly<Record<string, string>> = {}): Response {
  return Response.json({ error: { message: "No.", type: "no", code: null } }, { status, headers });
}

export type ReportFault = "lost" | "answer_lost";

export interface FailingReports {
  /** All that were made. */
  readonly made: readonly Report[];
  readonly stop: () => void;
}

/** The first `times` reports fail. A stub that failed once is broken, as the platform's are. */
export function failReports(fault: ReportFault, times: number): FailingReports {
  const made: Report[] = [];
  const getByName = env.COORDINATORS.getByName.bind(env.COORDINATORS);
  const spy = vi.spyOn(env.COORDINATORS, "getByName").mockImplementation((name) => {
    const stub = getByName(name);
    let isBroken = false;
    const report = async (one: Report) => {
      if (isBroken) throw new Error("this stub is broken");
      made.push(one);
      const fails = made.length <= times;
      const answer = fails && fault === "lost" ? null : await stub.report(one);
      if (answer !== null && !fails) return answer;
      isBroken = true;
      throw new Error("the coordinator does not answer");
    };
    return new Proxy(stub, { get: (target, key) => (key === "report" ? report : Reflect.get(target, key)) as unknown });
  });
  return { made, stop: () => spy.mockRestore() };
}
