import { describe, expect, test, vi } from "vitest";
import { env } from "cloudflare:workers";
import { evictDurableObject } from "cloudflare:test";
import type { Dispatch, ReportReply } from "../../src/domain/conversation.ts";
import { chunkKey } from "../../src/stores/object-keys.ts";
import { holdClockAndQueue, NOON, passSeconds, SOME_USAGE, HeldBatch, type Work } from "../support/held-batch.ts";

holdClockAndQueue();

const UNKNOWN = { kind: "unknown" };
const LEASE_SECONDS = 40;
const UNCLAIMED_SECONDS = 30;
const FIVE_AT_ONCE = { LINES_PER_INVOCATION: "5" };

/** Works off whatever is left, and checks that every line got one result. */
async function finish(batch: HeldBatch): Promise<void> {
  while ((await batch.status()) === "in_progress") {
    const known = batch.tokens.length;
    passSeconds(60);
    await batch.alarm();
    for (const token of batch.tokens.slice(known)) {
      const claim = await batch.claim(token);
      if (claim.kind === "run") await batch.settle({ token, slices: claim.slices }, { phase: "leaving" });
    }
  }
  await batch.alarm();
}

async function outputIds(batch: HeldBatch): Promise<readonly unknown[]> {
  const row = await batch.row();
  const lines = [...(await batch.readLines(row?.outputFileId)), ...(await batch.readLines(row?.errorFileId))];
  return lines.map((line) => line["custom_id"]);
}

describe("a dispatch", () => {
  test("that is delivered twice at once is run once", async () => {
    const batch = await HeldBatch.launch({ lines: 2 });
    const claims = await Promise.all([batch.claim(), batch.claim()]);
    expect(claims.map(({ kind }) => kind).toSorted()).toEqual(["run", "unknown"]);
  });

  test("that is delivered again later is not run again", async () => {
    const batch = await HeldBatch.launch({ lines: 2 });
    const work = await batch.take();
    expect(await batch.claim()).toEqual(UNKNOWN);
    await batch.settle(work, { phase: "leaving" });
    expect(await batch.claim()).toEqual(UNKNOWN);
    await batch.alarm();
    expect(await batch.claim()).toEqual(UNKNOWN);
    expect((await batch.row())?.counts).toEqual({ total: 2, completed: 2, failed: 0 });
  });

  test("that is lost is sent again under another token", async () => {
    const batch = await HeldBatch.launch({ lines: 1 });
    const lost = batch.lastToken;
    expect(await batch.alarmTime()).toBeLessThanOrEqual(Date.now() + UNCLAIMED_SECONDS * 1000);
    passSeconds(UNCLAIMED_SECONDS);
    await batch.alarm();
    expect(batch.tokens).toHaveLength(2);
    expect(await batch.claim(lost)).toEqual(UNKNOWN);
    await batch.settle(await batch.take());
    await batch.alarm();
    expect(await outputIds(batch)).toEqual(["line-0"]);
  });

  test("that still waits in the queue is not sent again", async () => {
    const batch = await HeldBatch.launch({ lines: 1 });
    const oldestMessageTimestamp = new Date(Date.now() - 1000);
    const metrics = vi.spyOn(env.DISPATCHES, "metrics");
    metrics.mockResolvedValue({ backlogCount: 1, backlogBytes: 0, oldestMessageTimestamp });
    passSeconds(UNCLAIMED_SECONDS - 1);
    await batch.alarm();
    expect(metrics).not.toHaveBeenCalled();
    for (let waits = 1; waits <= 10; waits += 1) {
      passSeconds(UNCLAIMED_SECONDS);
      await batch.alarm();
      expect(metrics).toHaveBeenCalledTimes(waits);
    }
    expect(batch.tokens).toHaveLength(1);
    await batch.settle(await batch.take());
    await batch.alarm();
    expect(await outputIds(batch)).toEqual(["line-0"]);
  });

  test.each([
    ["has none that is as old", () => Promise.resolve({ oldestMessageTimestamp: new Date(NOON.getTime() + 10_000) })],
    ["does not know how old its messages are", () => Promise.resolve({ oldestMessageTimestamp: new Date(0) })],
    ["is empty", () => Promise.resolve({})],
    ["does not answer", () => Promise.reject(new Error("the queue is down"))],
  ] as const)("is sent again when the queue %s", async (_what, answer) => {
    const batch = await HeldBatch.launch({ lines: 1 });
    vi.spyOn(env.DISPATCHES, "metrics").mockImplementation(async () => {
      return { backlogCount: 1, backlogBytes: 0, ...(await answer()) };
    });
    passSeconds(UNCLAIMED_SECONDS);
    await batch.alarm();
    expect(batch.tokens).toHaveLength(2);
  });

  test("that nobody claims is sent again less and less often", async () => {
    const batch = await HeldBatch.launch({ lines: 1 });
    const sentAfter: number[] = [];
    for (let seconds = 30; seconds <= 2400; seconds += 30) {
      const known = batch.tokens.length;
      passSeconds(30);
      await batch.alarm();
      if (batch.tokens.length > known) sentAfter.push(seconds);
    }
    expect(sentAfter).toEqual([30, 90, 210, 450, 930, 1530, 2130]);
  });

  test("whose consumer dies is given to another, lines that had settled excepted", async () => {
    const batch = await HeldBatch.launch({ lines: 3 });
    const dead = await batch.take();
    await batch.settle({ ...dead, slices: dead.slices.slice(0, 1) });
    passSeconds(LEASE_SECONDS - 1);
    await batch.alarm();
    expect(batch.tokens).toHaveLength(1);
    passSeconds(1);
    const log = vi.spyOn(console, "log");
    await batch.alarm();
    const lapsed = { event: "dispatches_lapsed", batch: batch.id, dispatches: 1 };
    expect(log.mock.calls.map(([line]) => JSON.parse(line as string) as unknown)).toContainEqual(
      expect.objectContaining(lapsed),
    );
    const next = await batch.take();
    expect(next.slices.flatMap(({ lines }) => lines.map(({ line }) => line))).toEqual([1, 2]);
    expect(await batch.settle(dead)).toEqual(UNKNOWN);
    await batch.settle(next);
    await batch.alarm();
    expect(await outputIds(batch)).toEqual(["line-0", "line-1", "line-2"]);
    const row = await batch.row();
    const settledBy = (await batch.readLines(row?.outputFileId)).map((line) => line["by"]);
    expect(settledBy).toEqual([dead.token, next.token, next.token]);
  });

  test("whose consumer dies of a line each time says so of that line, whatever it was answered before", async () => {
    const batch = await HeldBatch.launch({ lines: 1 });
    const { token } = await batch.take();
    const failure = { code: "http_500", message: "The upstream is away." };
    const history = { spent: 0, failedAt: Date.now(), repeats: 1, failure };
    await batch.report({ token, phase: "leaving", givenBack: [{ line: 0, attempts: 1, dueAt: null, history }] });
    await batch.alarm();
    for (let deaths = 0; deaths < 4; deaths += 1) {
      expect((await batch.take()).slices).toHaveLength(1);
      passSeconds(LEASE_SECONDS);
      await batch.alarm();
    }
    const row = await batch.row();
    expect(row).toMatchObject({ status: "completed", counts: { total: 1, completed: 0, failed: 1 } });
    expect(await batch.readLines(row?.errorFileId)).toMatchObject([
      { custom_id: "line-0", error: { code: "consumer_lost" } },
    ]);
  });

  test("keeps its lease by reporting, even with nothing to report", async () => {
    const batch = await HeldBatch.launch({ lines: 1 });
    const work = await batch.take();
    for (let beats = 0; beats < 10; beats += 1) {
      passSeconds(LEASE_SECONDS - 1);
      expect(await batch.report({ token: work.token })).toMatchObject({ kind: "run", slices: [] });
      await batch.alarm();
    }
    expect(await batch.settle(work)).toMatchObject({ kind: "run" });
    expect(await batch.status()).toBe("finalizing");
  });

  test("that leaves gives back what it does not mention, at once", async () => {
    const batch = await HeldBatch.launch({ lines: 2 });
    const { token } = await batch.take();
    await batch.report({ token, phase: "leaving" });
    expect(await batch.alarmTime()).toBe(Date.now());
    await batch.alarm();
    expect((await batch.take()).slices).toHaveLength(2);
  });

  test("that is dead-lettered is replaced after a pause, and means nothing any more", async () => {
    const batch = await HeldBatch.launch({ lines: 1 });
    const dead = batch.lastToken;
    await batch.stub.deadLettered(dead);
    await batch.stub.deadLettered(dead);
    expect(await batch.claim(dead)).toEqual(UNKNOWN);
    passSeconds(60);
    await batch.alarm();
    await batch.settle(await batch.take());
    await batch.alarm();
    expect(await outputIds(batch)).toEqual(["line-0"]);
  });

  test("that is dead-lettered while it is worked for goes on", async () => {
    const batch = await HeldBatch.launch({ lines: 1 });
    const work = await batch.take();
    await batch.stub.deadLettered(work.token);
    await batch.settle(work);
    expect(await batch.status()).toBe("finalizing");
  });

  test.each(["completed", "cancelled", "never started"] as const)("for a batch that is %s is dropped", async (fate) => {
    const batch = fate === "never started" ? await HeldBatch.prepare() : await HeldBatch.launch({ lines: 1 });
    const token = batch.lastToken;
    if (fate === "completed") await batch.settle(await batch.take());
    if (fate === "cancelled") await batch.stub.cancel();
    await batch.alarm();
    await batch.stub.deadLettered(token);
    expect(await batch.claim(token)).toEqual(UNKNOWN);
    expect(await batch.report({ token })).toEqual(UNKNOWN);
    expect([await batch.tables(), await batch.alarmTime()]).toEqual([[], null]);
  });

  test("for a batch that is cancelling is told to stop, or unknown", async () => {
    const batch = await HeldBatch.launch({ lines: 300, settings: FIVE_AT_ONCE });
    const [first = "", second = ""] = batch.tokens;
    const work = await batch.take(first);
    expect(second).not.toBe("");
    await batch.stub.cancel();
    expect(await batch.claim(second)).toEqual(UNKNOWN);
    expect(await batch.report({ token: work.token, wantedLines: 9 })).toEqual({ kind: "stop" });
  });

  test("can be started again after its coordinator was asked about a batch it did not know", async () => {
    const batch = await HeldBatch.prepare({ lines: 1 });
    expect(await batch.snapshot()).toBeNull();
    await batch.begin();
    expect(await batch.status()).toBe("validating");
    await batch.alarm();
    await batch.settle(await batch.take());
    await batch.alarm();
    expect((await batch.row())?.status).toBe("completed");
  });
});

describe("a dispatch that has had its time", () => {
  test("makes room when another one has waited for a consumer", async () => {
    const batch = await HeldBatch.launch({ lines: 200, settings: { LINES_PER_INVOCATION: "5" } });
    expect(batch.tokens.length).toBeGreaterThan(1);
    const { token } = await batch.take();
    passSeconds(30);
    expect(await batch.report({ token, wantedLines: 1 })).toMatchObject({ kind: "run", slices: [expect.anything()] });
    passSeconds(15);
    expect(await batch.report({ token, wantedLines: 1 })).toMatchObject({ kind: "run", slices: [] });
  });

  test("goes on when none waits", async () => {
    const upstreams = { echo: { kind: "echo", max_in_flight: 1 } };
    const batch = await HeldBatch.launch({ lines: 200, settings: { UPSTREAMS: JSON.stringify(upstreams) } });
    expect(batch.tokens).toHaveLength(1);
    const { token } = await batch.take();
    for (let reports = 0; reports < 5; reports += 1) {
      passSeconds(30);
      expect(await batch.report({ token, wantedLines: 1 })).toMatchObject({ kind: "run", slices: [expect.anything()] });
    }
  });
});

describe("a report", () => {
  test("that is made twice with one chunk counts once", async () => {
    const batch = await HeldBatch.launch({ lines: 2 });
    const { token, slices } = await batch.take();
    const first = { token, slices: slices.slice(0, 1) };
    const chunk = { key: chunkKey(batch.id, "one"), lines: [] };
    for (let times = 0; times < 3; times += 1) await batch.settle(first, { chunk, usage: SOME_USAGE });
    expect(await batch.snapshot()).toMatchObject({ counts: { completed: 1 }, usage: SOME_USAGE });
    await finish(batch);
    expect(await outputIds(batch)).toEqual(["line-0", "line-1"]);
  });

  test("that is made twice with other chunks settles no line twice", async () => {
    const batch = await HeldBatch.launch({ lines: 2 });
    const { token, slices } = await batch.take();
    const first = { token, slices: slices.slice(0, 1) };
    await batch.settle(first, { usage: SOME_USAGE });
    await batch.settle(first, { usage: SOME_USAGE, failed: [0] });
    expect(await batch.snapshot()).toMatchObject({ counts: { completed: 1, failed: 0 }, usage: SOME_USAGE });
    await finish(batch);
    expect(await outputIds(batch)).toEqual(["line-0", "line-1"]);
  });

  test("with a line of somebody else settles its own alone", async () => {
    const batch = await HeldBatch.launch({ lines: 200, settings: FIVE_AT_ONCE });
    const [first = "", second = ""] = batch.tokens;
    const [mine, theirs] = [await batch.take(first), await batch.take(second)];
    const mixed: Work = { token: mine.token, slices: [...theirs.slices.slice(0, 1), ...mine.slices] };
    await batch.settle(mixed);
    expect(await batch.snapshot()).toMatchObject({ counts: { completed: mine.slices.length * 2 } });
    await batch.settle(theirs);
    await finish(batch);
    expect((await batch.row())?.counts).toEqual({ total: 200, completed: 200, failed: 0 });
    expect(await outputIds(batch)).toEqual(Array.from({ length: 200 }, (_, line) => `line-${line}`));
  });

  test("gives lines back to be tried when they are due, and not before", async () => {
    const batch = await HeldBatch.launch({ lines: 1 });
    const { token } = await batch.take();
    const dueAt = new Date(Date.now() + 3_000);
    await batch.report({ token, givenBack: [{ line: 0, attempts: 4, dueAt }], phase: "leaving" });
    await batch.alarm();
    expect(batch.tokens).toHaveLength(1);
    expect(await batch.alarmTime()).toBe(dueAt.getTime());
    vi.setSystemTime(dueAt);
    await batch.alarm();
    expect((await batch.take()).slices[0]?.lines).toEqual([{ line: 0, attempts: 4 }]);
  });

  test("that is repeated because its answer was lost leaves no line with a consumer that does not know of it", async () => {
    const batch = await HeldBatch.launch({ lines: 200, settings: FIVE_AT_ONCE });
    const { token } = await batch.take(batch.tokens[0]);
    const lost = await batch.report({ token, wantedLines: 10 });
    const heard = await batch.report({ token, wantedLines: 10 });
    expect([lost.kind, heard.kind]).toEqual(["run", "run"]);
    await batch.report({ token, phase: "leaving" });
    await finish(batch);
    expect((await batch.row())?.counts).toEqual({ total: 200, completed: 200, failed: 0 });
  });
});

describe("slices granted in an answer that was lost", () => {
  async function loseGrant() {
    const batch = await HeldBatch.launch({ lines: 200, settings: FIVE_AT_ONCE });
    const { token, slices } = await batch.take(batch.tokens[0]);
    const holds = slices.map(({ index }) => index);
    const lost = grantOf(await batch.report({ token, wantedLines: 10, holds: { exchange: 1, slices: holds } }));
    expect(lost.length).toBeGreaterThan(0);
    return { batch, token, holds, lost };
  }

  test.each(["told again", "told again after an eviction"])("come with the next one: %s", async (when) => {
    const { batch, token, holds, lost } = await loseGrant();
    if (when !== "told again") await evictDurableObject(batch.stub);
    if (when !== "told again") await batch.setSettings(FIVE_AT_ONCE);
    const heard = grantOf(await batch.report({ token, wantedLines: 10, holds: { exchange: 2, slices: holds } }));
    expect(heard.slice(0, lost.length)).toEqual(lost);
    const open = await batch.query(`SELECT token FROM slices WHERE token = '${token}'`);
    expect(open).toHaveLength(holds.length + heard.length);
  });

  test("stay with a consumer that knows of them, though an earlier report of it comes late", async () => {
    const { batch, token, holds, lost } = await loseGrant();
    for (const [exchange, slices] of [
      [2, [...holds, ...lost]],
      [1, holds],
      [2, holds],
    ] as const) {
      expect(grantOf(await batch.report({ token, holds: { exchange, slices } }))).toEqual([]);
    }
    const open = await batch.query(`SELECT token FROM slices WHERE token = '${token}'`);
    expect(open).toHaveLength(holds.length + lost.length);
  });

  test("stay with an older consumer, which does not say what it holds", async () => {
    const { batch, token, holds, lost } = await loseGrant();
    await batch.report({ token });
    const open = await batch.query(`SELECT token FROM slices WHERE token = '${token}'`);
    expect(open).toHaveLength(holds.length + lost.length);
  });
});

function grantOf(reply: ReportReply): readonly number[] {
  return reply.kind === "run" ? reply.slices.map(({ index }) => index) : [];
}

test("a queue that takes no message is asked again, later and later", async () => {
  const batch = await HeldBatch.start({ lines: 1 });
  const send = vi.spyOn(env.DISPATCHES, "sendBatch").mockRejectedValue(new Error("the queue is down"));
  const delays: number[] = [];
  for (let tries = 0; tries < 9; tries += 1) {
    await batch.alarm();
    const alarmTime = (await batch.alarmTime()) ?? 0;
    delays.push(alarmTime - Date.now());
    vi.setSystemTime(alarmTime);
  }
  expect(delays).toEqual([1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000]);
  expect(send).toHaveBeenCalledTimes(9);
  expect(await batch.query("SELECT token FROM dispatches")).toEqual([]);
});

test("a report that fails half-way leaves nothing to the alarm that is under way meanwhile", async () => {
  const batch = await HeldBatch.start({ lines: 200, settings: FIVE_AT_ONCE });
  vi.spyOn(env.DISPATCHES, "sendBatch").mockImplementationOnce(async (messages) => {
    const [first] = [...messages].map(({ body }) => body as Dispatch);
    const work = await batch.take(first?.token);
    await batch.query("CREATE TRIGGER full BEFORE INSERT ON chunks BEGIN SELECT RAISE(ABORT, 'no room'); END");
    await expect(batch.settle(work)).rejects.toThrow("no room");
    await batch.query("DROP TRIGGER full");
    throw new Error("the answer was lost");
  });
  await batch.alarm().catch(() => {});
  await finish(batch);
  expect(await outputIds(batch)).toEqual(Array.from({ length: 200 }, (_, line) => `line-${line}`));
});
