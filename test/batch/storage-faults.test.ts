import { env } from "cloudflare:workers";
import { runInDurableObject } from "cloudflare:test";
import { describe, expect, test, vi } from "vitest";
import { hideFile } from "../../src/stores/files.ts";
import { fileKey } from "../../src/stores/object-keys.ts";
import { holdClockAndQueue, passSeconds, HeldBatch } from "../support/held-batch.ts";

holdClockAndQueue();

const DOWN = new Error("the storage is down");

/** Ready to be finalized: one line succeeded, one failed. */
async function settleAll(): Promise<HeldBatch> {
  const batch = await HeldBatch.launch({ lines: 2 });
  await batch.settle(await batch.take(), { failed: [1], phase: "leaving" });
  return batch;
}

/** As one that waits for a cancelled batch's last report. */
async function cancelled(): Promise<HeldBatch> {
  const batch = await HeldBatch.launch({ lines: 3 });
  const { token, slices } = await batch.take();
  await batch.settle({ token, slices: slices.slice(0, 1) }, { phase: "leaving" });
  await batch.stub.cancel();
  return batch;
}

async function resultKeys(batch: HeldBatch): Promise<readonly string[]> {
  const row = await batch.row();
  return [row?.outputFileId, row?.errorFileId].map((id) => fileKey(id ?? "none"));
}

/** Every call fails that many times; then everything is as it was. */
const FAULTS: readonly (readonly [string, (times: number) => void])[] = [
  ["R2 get", (times) => failTimes(vi.spyOn(env.BUCKET, "get"), times)],
  ["R2 put", (times) => failTimes(vi.spyOn(env.BUCKET, "put"), times)],
  ["R2 list", (times) => failTimes(vi.spyOn(env.BUCKET, "list"), times)],
  ["R2 delete", (times) => failTimes(vi.spyOn(env.BUCKET, "delete"), times)],
  ["D1 batch", (times) => failTimes(vi.spyOn(env.DB, "batch"), times)],
  ["D1 prepare", (times) => throwTimes(vi.spyOn(env.DB, "prepare"), times)],
];

interface Failing {
  mockRejectedValueOnce(error: Error): unknown;
}

interface Throwing {
  mockImplementationOnce(call: () => never): unknown;
}

function failTimes(call: Failing, times: number): void {
  for (let count = 0; count < times; count += 1) call.mockRejectedValueOnce(DOWN);
}

function throwTimes(call: Throwing, times: number): void {
  for (let count = 0; count < times; count += 1) call.mockImplementationOnce(throwDown);
}

function throwDown(): never {
  throw DOWN;
}

describe.each(FAULTS)("%s failing", (_fault, fail) => {
  test.each([
    [1, "completed", settleAll],
    [5, "completed", settleAll],
    [1, "cancelled", cancelled],
    [5, "cancelled", cancelled],
  ] as const)("%i times at the end: the batch is %s, with each line once", async (times, status, prepare) => {
    const batch = await prepare();
    const total = status === "completed" ? 2 : 3;
    fail(times);
    for (let passes = 0; passes < 10 && (await batch.alarmTime()) !== null; passes += 1) {
      await batch.alarm();
      passSeconds(60);
    }
    const row = await batch.row();
    expect(row?.status).toBe(status);
    const lines = [...(await batch.readLines(row?.outputFileId)), ...(await batch.readLines(row?.errorFileId))];
    expect(lines.map((line) => line["custom_id"])).toEqual(Array.from({ length: total }, (_, n) => `line-${n}`));
    expect([await batch.chunkKeys(), await batch.tables()]).toEqual([[], []]);
  });
});

test("a result file that was written already is written over, not beside, when the next step fails", async () => {
  const batch = await cancelled();
  const before = new Set((await env.BUCKET.list({ prefix: "files/" })).objects.map(({ key }) => key));
  vi.spyOn(env.DB, "batch").mockRejectedValueOnce(DOWN).mockRejectedValueOnce(DOWN);
  for (let passes = 0; passes < 4; passes += 1) {
    await batch.alarm();
    passSeconds(60);
  }
  const added = (await env.BUCKET.list({ prefix: "files/" })).objects.map(({ key }) => key);
  expect(added.filter((key) => !before.has(key)).toSorted()).toEqual((await resultKeys(batch)).toSorted());
});

test.each([
  [
    "failed",
    [{ code: "server_error", message: "The result files could not be written for 24 hours.", line: null, param: null }],
    settleAll,
  ],
  ["cancelled", null, cancelled],
] as const)(
  "a batch whose files cannot be written for a day is %s without them, and with its errors only when it failed",
  async (status, errors, prepare) => {
    const batch = await prepare();
    const put = vi.spyOn(env.BUCKET, "put").mockRejectedValue(DOWN);
    for (let passes = 0; passes < 12; passes += 1) {
      await batch.alarm();
      passSeconds(7200);
    }
    expect((await batch.row())?.errors).toBeNull();
    passSeconds(60);
    await batch.alarm();
    put.mockRestore();
    expect(await batch.row()).toMatchObject({
      status,
      outputFileId: null,
      errorFileId: null,
      errors,
    });
    expect([await batch.chunkKeys(), await batch.tables()]).toEqual([[], []]);
  },
);

test("one whose writing is cut off without a word is given up as well", async () => {
  const batch = await settleAll();
  const put = vi.spyOn(env.BUCKET, "put").mockImplementation(() => new Promise(() => {}));
  for (let passes = 0; passes < 10; passes += 1) {
    const cutOff = batch.alarm().catch(() => {});
    await vi.waitFor(() => expect(put).toHaveBeenCalledTimes(passes + 1));
    await runInDurableObject(batch.stub, (_, state) => state.abort("the platform ends an alarm")).catch(() => {});
    await cutOff;
    passSeconds(10_000);
    await runInDurableObject(batch.stub, (_, state) => state.storage.setAlarm(Date.now()));
  }
  put.mockRestore();
  await batch.alarm();
  expect(await batch.row()).toMatchObject({ status: "failed", errors: [{ code: "server_error" }] });
});

test("one that was asleep for two days has its tries before it is given up", async () => {
  const batch = await settleAll();
  passSeconds(2 * 86_400);
  failTimes(vi.spyOn(env.BUCKET, "put"), 1);
  await batch.alarm();
  passSeconds(2 * 86_400);
  await batch.alarm();
  expect(await batch.row()).toMatchObject({ status: "completed", errors: null, counts: { completed: 1, failed: 1 } });
});

test("error lines of lines that never ran say so again when R2 has lost them", async () => {
  const batch = await HeldBatch.launch({ lines: 3 });
  await batch.stub.cancel();
  const write = env.BUCKET.put.bind(env.BUCKET) as (...call: unknown[]) => Promise<R2Object>;
  const put = vi.spyOn(env.BUCKET, "put");
  put.mockImplementationOnce(((...call: unknown[]) => write(...call)) as never).mockRejectedValueOnce(DOWN);
  await batch.alarm();
  put.mockRestore();
  for (const key of await batch.chunkKeys()) await env.BUCKET.delete(key);
  passSeconds(60);
  await batch.alarm();
  const row = await batch.row();
  expect(row?.counts).toEqual({ total: 3, completed: 0, failed: 0 });
  const lines = await batch.readLines(row?.errorFileId);
  expect(lines.map((line) => line["error"])).toMatchObject([1, 2, 3].map(() => ({ code: "batch_cancelled" })));
});

test("no D1 for a while does not keep lines from running", async () => {
  const batch = await HeldBatch.launch({ lines: 2 });
  const { token } = await batch.take();
  await batch.report({ token, phase: "leaving" });
  passSeconds(10);
  vi.spyOn(env.DB, "prepare").mockImplementation(throwDown);
  const known = batch.tokens.length;
  for (let passes = 0; passes < 5; passes += 1) {
    await batch.alarm();
    passSeconds(5);
  }
  expect(batch.tokens.length).toBeGreaterThan(known);
});

test("an input that cannot be read for a while is validated later", async () => {
  const batch = await HeldBatch.start({ lines: 2 });
  failTimes(vi.spyOn(env.BUCKET, "get"), 3);
  for (let passes = 0; passes < 4; passes += 1) {
    expect(await batch.status()).toBe("validating");
    await batch.alarm();
    passSeconds(60);
  }
  expect(await batch.snapshot()).toMatchObject({ status: "in_progress", counts: { total: 2 } });
});

test("a batch that cannot be listed is refused, and nothing of it is left", async () => {
  const batch = await HeldBatch.prepare();
  const prepare = vi.spyOn(env.DB, "prepare").mockImplementation(throwDown);
  expect(await batch.stub.start({ batch: batch.record, sealedKey: "sealed" })).toEqual({
    ok: false,
    reason: "unavailable",
  });
  prepare.mockRestore();
  expect([await batch.row(), await batch.tables(), await batch.alarmTime()]).toEqual([null, [], null]);
});

test("a deleted input is removed although its removal failed at first", async () => {
  const batch = await settleAll();
  const { inputFileId: id, tenant } = batch.record;
  await hideFile(env.DB, { id, tenant, now: new Date() });
  failTimes(vi.spyOn(env.BUCKET, "delete"), 2);
  for (let passes = 0; passes < 4; passes += 1) {
    await batch.alarm();
    passSeconds(60);
  }
  expect(await env.BUCKET.head(fileKey(id))).toBeNull();
  expect(await batch.tables()).toEqual([]);
});

test("error lines that the object has no room for at first are counted later", async () => {
  const batch = await cancelled();
  await batch.query("CREATE TRIGGER full BEFORE INSERT ON chunks BEGIN SELECT RAISE(ABORT, 'no room'); END");
  await batch.alarm();
  await batch.query("DROP TRIGGER full");
  passSeconds(60);
  await batch.alarm();
  const row = await batch.row();
  expect(row).toMatchObject({ status: "cancelled", counts: { total: 3, completed: 1 } });
  expect(await batch.readLines(row?.errorFileId)).toHaveLength(2);
});

test.each(["completed", "cancelled"] as const)(
  "results that R2 lost before a batch was %s cost no more",
  async (end) => {
    const batch = await HeldBatch.launch({ lines: 4 });
    const { token, slices } = await batch.take();
    await batch.settle({ token, slices: slices.slice(0, 2) });
    const [lost = ""] = await batch.chunkKeys();
    const rest = slices.slice(2, end === "completed" ? 4 : 3);
    await batch.settle({ token, slices: rest }, { phase: "leaving" });
    if (end === "cancelled") await batch.stub.cancel();
    await env.BUCKET.delete(lost);
    for (let passes = 0; passes < 3; passes += 1) {
      await batch.alarm();
      passSeconds(60);
    }
    const row = await batch.row();
    expect(row).toMatchObject({ status: end, counts: { total: 4, completed: rest.length, failed: 2 } });
    expect(await batch.readLines(row?.outputFileId)).toHaveLength(rest.length);
    const errors = await batch.readLines(row?.errorFileId);
    const codes = ["result_lost", "result_lost", "batch_cancelled"].slice(0, 4 - rest.length);
    expect(errors).toMatchObject(codes.map((code) => ({ response: null, error: { code } })));
    expect(errors.slice(0, 2)).toMatchObject([{ custom_id: "line-0" }, { custom_id: "line-1" }]);
    expect([await batch.tables(), await batch.alarmTime()]).toEqual([[], null]);
  },
);
