import { env } from "cloudflare:workers";
import { evictDurableObject } from "cloudflare:test";
import { describe, expect, test, vi } from "vitest";
import type { QueueMessage } from "../../src/domain/conversation.ts";
import { queueOf } from "../../src/domain/dispatch-tokens.ts";
import { HeldBatch, heldQueue, holdClockAndQueue, passSeconds } from "../support/held-batch.ts";

holdClockAndQueue();

const LEASE_SECONDS = 40;
const UNCLAIMED_SECONDS = 30;
const SPARED_SECONDS = 60;
const FIVE_AT_ONCE = { LINES_PER_INVOCATION: "5" };
/** At 64 lines in flight, five each. */
const DISPATCHES = 13;

async function launch(queues: Readonly<Record<string, unknown>>) {
  return HeldBatch.launch({ lines: 300, settings: { ...FIVE_AT_ONCE, ...queues } });
}

/** As a deploy does it: the object starts anew, with these bindings. */
async function deploy(batch: HeldBatch, queues: Readonly<Record<string, unknown>>): Promise<void> {
  await evictDurableObject(batch.stub);
  await batch.setSettings({ ...FIVE_AT_ONCE, ...queues });
  // The leases begin anew when the object first reads its tables.
  await batch.status();
}

function sentToFirst(): readonly QueueMessage[] {
  return vi
    .mocked(env.DISPATCHES)
    .sendBatch.mock.calls.flatMap(([sent]) => [...sent].map(({ body }) => body as QueueMessage));
}

/** How many went to each queue, the fewest first. */
function sizes(tokens: readonly string[], queues: number): readonly number[] {
  const counts = Array.from(
    { length: queues },
    (_, queue) => tokens.filter((token) => queueOf(token) === queue).length,
  );
  return counts.toSorted((a, b) => a - b);
}

async function finish(batch: HeldBatch): Promise<void> {
  const seen = new Set<string>();
  while ((await batch.status()) === "in_progress") {
    for (const token of batch.tokens.filter((sent) => !seen.has(sent))) {
      seen.add(token);
      const claim = await batch.claim(token);
      if (claim.kind === "run") await batch.settle({ token, slices: claim.slices }, { phase: "leaving" });
    }
    passSeconds(60);
    await batch.alarm();
  }
  await batch.alarm();
  expect((await batch.row())?.counts).toEqual({ total: 300, completed: 300, failed: 0 });
}

describe("with several queues", () => {
  test("dispatches spread over them, each behind messages without work of its own", async () => {
    const [second, third] = [heldQueue(), heldQueue()];
    const batch = await launch({ DISPATCHES_2: second, DISPATCHES_3: third });
    expect(sizes(batch.tokens, 3)).toEqual([4, 4, 5]);
    for (const [index, messages] of [sentToFirst(), second.messages, third.messages].entries()) {
      const own = batch.tokens.filter((token) => queueOf(token) === index);
      const scaling = own.map(() => ({ kind: "scale" }));
      expect(messages).toEqual([...scaling, ...own.map((token) => ({ batchId: batch.id, token }))]);
    }
    await finish(batch);
  });

  test("only those are asked that hold an overdue dispatch, and each speaks for its own", async () => {
    const [second, third] = [heldQueue(), heldQueue()];
    const batch = await launch({ DISPATCHES_2: second, DISPATCHES_3: third });
    const first = vi.spyOn(env.DISPATCHES, "metrics").mockResolvedValue({ backlogCount: 0, backlogBytes: 0 });
    second.metrics.mockResolvedValue({ backlogCount: 1, backlogBytes: 0, oldestMessageTimestamp: new Date() });
    for (const token of batch.tokens.filter((sent) => queueOf(sent) === 2)) await batch.take(token);
    const lost = batch.tokens.filter((token) => queueOf(token) === 0);
    const waiting = batch.tokens.filter((token) => queueOf(token) === 1);
    passSeconds(UNCLAIMED_SECONDS);
    await batch.alarm();
    expect([first.mock.calls, second.metrics.mock.calls, third.metrics.mock.calls]).toEqual([[[]], [[]], []]);
    expect(batch.tokens).toHaveLength(DISPATCHES + lost.length);
    expect(await batch.claim(lost[0])).toEqual({ kind: "unknown" });
    expect(await batch.claim(waiting[0])).toMatchObject({ kind: "run" });
    await finish(batch);
  });

  test("one that takes nothing is spared for a minute, and the others get its dispatches", async () => {
    const [second, third] = [heldQueue(), heldQueue()];
    second.sendBatch.mockRejectedValue(new Error("this queue is down"));
    const batch = await launch({ DISPATCHES_2: second, DISPATCHES_3: third });
    expect(second.sendBatch).toHaveBeenCalledTimes(1);
    passSeconds(1);
    await batch.alarm();
    expect(sizes(batch.tokens, 3)).toEqual([0, 6, 7]);
    await batch.settle(await batch.take(batch.tokens[0]), { phase: "leaving" });
    passSeconds(SPARED_SECONDS - 2);
    await batch.alarm();
    expect(second.sendBatch).toHaveBeenCalledTimes(1);
    await batch.settle(await batch.take(), { phase: "leaving" });
    passSeconds(1);
    await batch.alarm();
    expect(second.sendBatch).toHaveBeenCalledTimes(2);
    await finish(batch);
  });

  test("one that has gone from the deployment loses its dispatches, and they are sent again elsewhere", async () => {
    const queues = { DISPATCHES_2: heldQueue(), DISPATCHES_3: heldQueue() };
    const batch = await launch(queues);
    const gone = batch.tokens.filter((token) => queueOf(token) > 0);
    await deploy(batch, {});
    passSeconds(LEASE_SECONDS);
    await batch.alarm();
    expect(sizes(batch.tokens.slice(DISPATCHES), 3)).toEqual([0, 0, DISPATCHES]);
    expect(await batch.claim(gone[0])).toEqual({ kind: "unknown" });
    await finish(batch);
  });

  test("one that has gone may still deliver what it held", async () => {
    const batch = await launch({ DISPATCHES_2: heldQueue() });
    const token = batch.tokens.find((sent) => queueOf(sent) === 1);
    await deploy(batch, {});
    expect(await batch.settle(await batch.take(token), { phase: "leaving" })).not.toEqual({ kind: "unknown" });
    await finish(batch);
  });

  test("one that is added gets its part of what comes next, and what waited in the first is still asked for there", async () => {
    const batch = await launch({});
    const second = heldQueue();
    await deploy(batch, { DISPATCHES_2: second });
    const oldestMessageTimestamp = new Date(Date.now() - 1000);
    const first = vi.spyOn(env.DISPATCHES, "metrics");
    first.mockResolvedValue({ backlogCount: 1, backlogBytes: 0, oldestMessageTimestamp });
    passSeconds(LEASE_SECONDS);
    await batch.alarm();
    expect([first.mock.calls, second.metrics.mock.calls]).toEqual([[[]], []]);
    expect(batch.tokens).toHaveLength(DISPATCHES);
    for (const token of batch.tokens) await batch.settle(await batch.take(token), { phase: "leaving" });
    await batch.alarm();
    expect(sizes(batch.tokens.slice(DISPATCHES), 2)).toEqual([6, 7]);
    await finish(batch);
  });
});
