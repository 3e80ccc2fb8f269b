import { env } from "cloudflare:workers";
import { describe, expect, test, vi } from "vitest";
import { chunkPrefix, fileKey } from "../../src/stores/object-keys.ts";
import { holdClockAndQueue, passSeconds, HeldBatch } from "../support/held-batch.ts";
import {
  answerOk,
  answerStatus,
  deliverLast,
  failReports,
  standInForUpstream,
  workToTheEnd,
} from "../support/delivery.ts";

holdClockAndQueue(["Date", "setTimeout", "clearTimeout"]);

const DOWN = new Error("R2 is down");

async function resultIds(batch: HeldBatch): Promise<readonly string[]> {
  const row = await batch.row();
  const lines = [...(await batch.readLines(row?.outputFileId)), ...(await batch.readLines(row?.errorFileId))];
  return lines.map((line) => String(line["custom_id"]));
}

/** Puts of result chunks fail so often; all others go through. */
function failChunkPuts(batch: HeldBatch, times: number, onFailure: () => unknown = () => {}): () => number {
  const put = env.BUCKET.put.bind(env.BUCKET) as (...args: unknown[]) => Promise<unknown>;
  let failed = 0;
  const failing = async (key: string, ...rest: unknown[]) => {
    if (!key.startsWith(chunkPrefix(batch.id)) || failed >= times) return put(key, ...rest);
    failed += 1;
    await onFailure();
    throw DOWN;
  };
  vi.spyOn(env.BUCKET, "put").mockImplementation(failing as never);
  return () => failed;
}

describe("R2 takes no chunk", () => {
  test.each([1, 5])("%i times: the results are kept, and no line is sent again", async (times) => {
    const sent = standInForUpstream(answerOk);
    const batch = await HeldBatch.launch({ lines: 3, upstream: "mock" });
    const failedPuts = failChunkPuts(batch, times);
    await deliverLast(batch);
    expect(failedPuts()).toBe(times);
    expect(sent).toHaveLength(3);
    expect(await batch.snapshot()).toMatchObject({ status: "finalizing", counts: { completed: 3 } });
  });

  test("for longer than patience: the lines go to others, and nothing hot-loops", async () => {
    const sent = standInForUpstream(answerOk);
    const batch = await HeldBatch.launch({ lines: 1, upstream: "mock" });
    const failedPuts = failChunkPuts(batch, 1000);
    await deliverLast(batch, { stepMs: 1000 });
    expect(failedPuts()).toBeLessThan(50);
    expect(await batch.snapshot()).toMatchObject({ status: "in_progress", counts: { completed: 0 } });
    vi.mocked(env.BUCKET).put.mockRestore();
    passSeconds(40);
    await workToTheEnd(batch);
    expect(await resultIds(batch)).toEqual(["line-0"]);
    expect(sent).toHaveLength(2);
  });
});

describe("while R2 takes no chunk", () => {
  test("nothing is started, and what is left runs once it does", async () => {
    const settings = { LINES_PER_INVOCATION: "2" };
    const sent = standInForUpstream(() => Response.json({ text: "x".repeat(5 * 1024 * 1024) }));
    const batch = await HeldBatch.launch({ lines: 12, upstream: "mock", settings });
    const sentWhileRefused: number[] = [];
    failChunkPuts(batch, 5, () => sentWhileRefused.push(sent.length));
    await deliverLast(batch, { settings });
    expect(sentWhileRefused).toHaveLength(5);
    // Those that were in flight when it was refused first, and no more.
    expect(new Set(sentWhileRefused.slice(1)).size).toBe(1);
    expect(sentWhileRefused.at(-1)).toBeLessThanOrEqual(6);
    await workToTheEnd(batch, settings);
    expect((await batch.row())?.counts.completed).toBe(12);
    expect(sent).toHaveLength(12);
  });

  test("a cancel is heard: nothing more is started", async () => {
    const settings = { LINES_PER_INVOCATION: "2" };
    const sent = standInForUpstream(() => Response.json({ text: "x".repeat(5 * 1024 * 1024) }));
    const batch = await HeldBatch.launch({ lines: 12, upstream: "mock", settings });
    const sentWhileRefused: number[] = [];
    failChunkPuts(batch, 5, async () => {
      sentWhileRefused.push(sent.length);
      if (sentWhileRefused.length === 2) await batch.stub.cancel();
    });
    await deliverLast(batch, { settings });
    expect(sent).toHaveLength(sentWhileRefused[1] ?? 0);
    expect(sent.length).toBeLessThan(12);
    await workToTheEnd(batch, settings);
    expect((await batch.row())?.status).toBe("cancelled");
    expect((await batch.row())?.counts.completed).toBe(sent.length);
  });
});

describe("reports", () => {
  test.each([
    ["lost", 1],
    ["lost", 5],
    ["answer_lost", 1],
    ["answer_lost", 3],
  ] as const)("%s %i times: no line is sent or settled twice", async (fault, times) => {
    const sent = standInForUpstream(answerOk);
    const batch = await HeldBatch.launch({ lines: 4, upstream: "mock" });
    const reports = failReports(fault, times);
    await deliverLast(batch);
    reports.stop();
    expect(reports.made.length).toBeGreaterThan(times);
    expect(sent.map(({ line }) => line)).toEqual([0, 1, 2, 3]);
    expect(await batch.snapshot()).toMatchObject({ counts: { total: 4, completed: 4, failed: 0 } });
    await workToTheEnd(batch);
    expect(await resultIds(batch)).toEqual(["line-0", "line-1", "line-2", "line-3"]);
  });

  test("whose answers are lost strand no line: what they granted runs within the next exchange, once", async () => {
    const settings = { LINES_PER_INVOCATION: "2" };
    const sent = standInForUpstream(answerOk);
    const batch = await HeldBatch.launch({ lines: 40, upstream: "mock", settings });
    const reports = failReports("answer_lost", 3);
    await deliverLast(batch, { settings });
    reports.stop();
    expect(sent.map(({ tries }) => tries)).toEqual(sent.map(() => 1));
    const open = await batch.query("SELECT token FROM slices WHERE token IS NOT NULL");
    expect(open).toEqual([]);
    await workToTheEnd(batch, settings);
    expect((await batch.row())?.counts.completed).toBe(40);
    expect(sent).toHaveLength(40);
  });

  test("that never come through end the run in the end; others take the lines on", async () => {
    const sent = standInForUpstream(answerOk);
    const batch = await HeldBatch.launch({ lines: 1, upstream: "mock" });
    const reports = failReports("lost", 1000);
    expect((await deliverLast(batch, { stepMs: 1000 })).acked).toEqual(["message-0"]);
    reports.stop();
    expect(reports.made.length).toBeLessThan(50);
    await workToTheEnd(batch);
    expect(await resultIds(batch)).toEqual(["line-0"]);
    expect(sent).toHaveLength(2);
  });

  test("of a line that was given back while another report was under way count its try", async () => {
    standInForUpstream(() => answerStatus(429, { "retry-after": "60" }));
    const batch = await HeldBatch.launch({ lines: 1, upstream: "mock" });
    const reports = failReports("lost", 2);
    await deliverLast(batch);
    reports.stop();
    passSeconds(120);
    await batch.alarm();
    expect((await batch.take()).slices[0]?.lines).toMatchObject([{ line: 0, attempts: 1, history: { spent: 0 } }]);
  });
});

describe("the input", () => {
  test("that cannot be read for once is read by another, a little later", async () => {
    const sent = standInForUpstream(answerOk);
    const batch = await HeldBatch.launch({ lines: 2, upstream: "mock" });
    const get = vi.spyOn(env.BUCKET, "get").mockRejectedValueOnce(DOWN);
    await deliverLast(batch);
    expect([sent.length, get.mock.calls.length]).toEqual([0, 1]);
    await workToTheEnd(batch);
    expect(await resultIds(batch)).toEqual(["line-0", "line-1"]);
    expect(sent.map(({ headers }) => headers.get("idempotency-key"))).toEqual([`${batch.id}-1-1`, `${batch.id}-2-1`]);
  });

  test("that is gone ends the batch as failed, with a reason and every line", async () => {
    const sent = standInForUpstream(answerOk);
    const batch = await HeldBatch.launch({ lines: 2, upstream: "mock" });
    await env.BUCKET.delete(fileKey(batch.record.inputFileId));
    await deliverLast(batch);
    await batch.alarm();
    expect(await batch.row()).toMatchObject({
      status: "failed",
      counts: { total: 2, completed: 0, failed: 0 },
      errors: [{ code: "invalid_request", param: "file_id" }],
    });
    expect(await resultIds(batch)).toHaveLength(2);
    expect([sent, batch.tokens.length]).toEqual([[], 1]);
  });
});

describe("orders", () => {
  test("to stop, as after a cancel: what is in flight is kept, nothing more is started", async () => {
    const settings = { LINES_PER_INVOCATION: "2" };
    const batch = await HeldBatch.launch({ lines: 8, upstream: "mock", settings });
    const sent = standInForUpstream(async ({ line }) => {
      if (line === 0) await batch.stub.cancel();
      return answerOk();
    });
    await deliverLast(batch, { settings });
    await batch.alarm();
    const row = await batch.row();
    expect(row?.status).toBe("cancelled");
    expect(row?.counts.completed).toBe(sent.length);
    expect(sent.length).toBeLessThan(8);
    expect((await resultIds(batch)).toSorted()).toEqual(Array.from({ length: 8 }, (_, line) => `line-${line}`));
  });

  test("unknown, as after a lapsed lease: everything is dropped, and the lines are run by others", async () => {
    const batch = await HeldBatch.launch({ lines: 3, upstream: "mock" });
    const sent = standInForUpstream(async ({ line, tries }) => {
      if (line === 0 && tries === 1) {
        passSeconds(41);
        await batch.alarm();
      }
      return answerOk();
    });
    await deliverLast(batch);
    await workToTheEnd(batch);
    expect((await batch.row())?.counts).toEqual({ total: 3, completed: 3, failed: 0 });
    expect(await resultIds(batch)).toEqual(["line-0", "line-1", "line-2"]);
    expect(sent.every(({ tries }) => tries <= 2)).toBe(true);
  });

  test("are heard during a long line, whose lease its heartbeat keeps", async () => {
    const batch = await HeldBatch.launch({ input: inputWithDelay(120_000) });
    await deliverLast(batch, { stepMs: 250 });
    expect(batch.tokens).toHaveLength(1);
    expect(await batch.snapshot()).toMatchObject({ status: "finalizing", counts: { completed: 1 } });
  });

  test("to end with its window: lines that wait for another try settle with what there is", async () => {
    standInForUpstream(() => answerStatus(429));
    const batch = await HeldBatch.launch({ lines: 2, upstream: "mock", windowSeconds: 20 });
    await deliverLast(batch);
    await workToTheEnd(batch);
    const row = await batch.row();
    expect(["expired", "completed"]).toContain(row?.status);
    expect((await resultIds(batch)).toSorted()).toEqual(["line-0", "line-1"]);
  });
});

test("lines whose key can no longer be opened end as lines of an upstream out of reach", async () => {
  const sent = standInForUpstream(answerOk);
  const batch = await HeldBatch.launch({ lines: 1, upstream: "mock", sealedKey: "bm90IHNlYWxlZCBieSB1cw==" });
  await workToTheEnd(batch);
  expect(sent).toEqual([]);
  expect(await batch.row()).toMatchObject({
    status: "completed",
    counts: { total: 1, completed: 0, failed: 1 },
  });
});

function inputWithDelay(delayMs: number): string {
  const body = { model: "m", messages: [{ role: "user", content: "Slowly." }], echo: { delay_ms: delayMs } };
  return `${JSON.stringify({ custom_id: "line-0", method: "POST", url: "/v1/chat/completions", body })}\n`;
}
