import { env } from "cloudflare:workers";
import { describe, expect, test, vi } from "vitest";
import { addUsage, NO_USAGE } from "../../src/domain/usage.ts";
import { hideFile } from "../../src/stores/files.ts";
import { fileKey } from "../../src/stores/object-keys.ts";
import { holdClockAndQueue, inputLine, NOON, passSeconds, SOME_USAGE, HeldBatch } from "../support/held-batch.ts";

holdClockAndQueue();

const DAYS_30_MS = 30 * 86_400_000;
const FILE_ID: unknown = expect.stringMatching(/^file-[0-9a-f]{32}$/);
const REQUEST_ID: unknown = expect.stringMatching(/^batch_req_[0-9a-f]{32}$/);

function at(seconds: number): Date {
  return new Date(NOON.getTime() + seconds * 1000);
}

describe("completed", () => {
  test("with its counts, usage, model and files in input order; then nothing else is left", async () => {
    const batch = await HeldBatch.start({ lines: 3 });
    expect(await batch.snapshot()).toEqual(batch.record);
    expect(await batch.row()).toEqual(batch.record);

    passSeconds(1);
    await batch.alarm();
    const running = {
      ...batch.record,
      status: "in_progress",
      model: "some-model",
      counts: { total: 3, completed: 0, failed: 0 },
      times: { ...batch.record.times, inProgressAt: at(1) },
    };
    expect(await batch.snapshot()).toEqual(running);
    expect(await batch.row()).toEqual(running);

    const work = await batch.take();
    passSeconds(1);
    await batch.settle({ ...work, slices: work.slices.slice(1) }, { usage: SOME_USAGE });
    expect(await batch.snapshot()).toEqual({
      ...running,
      counts: { total: 3, completed: 2, failed: 0 },
      usage: SOME_USAGE,
    });
    await batch.settle({ ...work, slices: work.slices.slice(0, 1) }, { failed: [0], phase: "leaving" });
    const finalizing = {
      ...running,
      status: "finalizing",
      counts: { total: 3, completed: 2, failed: 1 },
      usage: SOME_USAGE,
      times: { ...running.times, finalizingAt: at(2) },
    };
    expect(await batch.snapshot()).toEqual(finalizing);

    passSeconds(1);
    await batch.alarm();
    const row = await batch.row();
    expect(row).toEqual({
      ...finalizing,
      status: "completed",
      outputFileId: FILE_ID,
      errorFileId: FILE_ID,
      times: { ...finalizing.times, completedAt: at(3) },
    });
    expect(await batch.file(row?.outputFileId)).toMatchObject({
      tenant: batch.record.tenant,
      purpose: "batch_output",
      filename: `${batch.id}_output.jsonl`,
      createdAt: at(2),
      expiresAt: new Date(at(2).getTime() + DAYS_30_MS),
    });
    expect(await batch.file(row?.errorFileId)).toMatchObject({ filename: `${batch.id}_error.jsonl` });
    expect(await batch.readLines(row?.outputFileId)).toMatchObject([{ custom_id: "line-1" }, { custom_id: "line-2" }]);
    expect(await batch.readLines(row?.errorFileId)).toMatchObject([{ custom_id: "line-0" }]);

    expect(await batch.snapshot()).toBeNull();
    expect([await batch.chunkKeys(), await batch.tables(), await batch.alarmTime()]).toEqual([[], [], null]);
    expect(await env.BUCKET.head(fileKey(batch.record.inputFileId))).not.toBeNull();
  });

  test("says how large each file is", async () => {
    const batch = await HeldBatch.launch({ lines: 2 });
    await batch.settle(await batch.take(), { failed: [1] });
    await batch.alarm();
    const row = await batch.row();
    for (const id of [row?.outputFileId, row?.errorFileId]) {
      const object = await env.BUCKET.head(fileKey(id ?? "none"));
      expect((await batch.file(id))?.bytes).toBe(object?.size);
    }
  });

  test.each([
    ["no line succeeded", [0, 1], ["errorFileId"]],
    ["no line failed", [], ["outputFileId"]],
  ] as const)("has but one file when %s", async (_, failed, files) => {
    const batch = await HeldBatch.launch({ lines: 2 });
    await batch.settle(await batch.take(), { failed });
    await batch.alarm();
    const row = await batch.row();
    const found = (["outputFileId", "errorFileId"] as const).filter((name) => row?.[name] !== null);
    expect(found).toEqual(files);
  });

  test("says that nothing was used when every line has failed", async () => {
    const batch = await HeldBatch.launch({ lines: 1 });
    await batch.settle(await batch.take(), { failed: [0] });
    await batch.alarm();
    expect(await batch.row()).toMatchObject({ status: "completed", usage: NO_USAGE, counts: { failed: 1 } });
  });

  test("sums the usage of its chunks", async () => {
    const batch = await HeldBatch.launch({ lines: 2 });
    const { token, slices } = await batch.take();
    for (const slice of slices) await batch.settle({ token, slices: [slice] }, { usage: SOME_USAGE });
    await batch.alarm();
    expect((await batch.row())?.usage).toEqual(addUsage(SOME_USAGE, SOME_USAGE));
  });

  test("keeps its files as long as was ordered, counted from their creation", async () => {
    const prepared = await HeldBatch.prepare({ lines: 1 });
    const batch = prepared.with({ outputExpiresAfterSeconds: 3600 });
    await batch.begin();
    await batch.alarm();
    await batch.settle(await batch.take());
    await batch.alarm();
    const row = await batch.row();
    expect((await batch.file(row?.outputFileId))?.expiresAt).toEqual(at(3600));
  });

  test("has no model when its lines name several", async () => {
    const input = `${inputLine(0)}\n${inputLine(1).replace("some-model", "another-model")}\n`;
    expect(await (await HeldBatch.launch({ input })).snapshot()).toMatchObject({ status: "in_progress", model: null });
  });

  test("wipes the provider's key before anybody is told", async () => {
    const batch = await HeldBatch.launch({ lines: 1, sealedKey: "sealed" });
    expect(await batch.query("SELECT sealed_key FROM batch")).toEqual([{ sealed_key: "sealed" }]);
    const work = await batch.claim();
    expect(work).toMatchObject({ kind: "run", batch: { batchId: batch.id, sealedKey: "sealed" } });
    if (work.kind === "run") await batch.settle({ token: batch.lastToken, slices: work.slices });
    vi.spyOn(env.DB, "batch").mockRejectedValueOnce(new Error("D1 is down"));
    await batch.alarm();
    expect(await batch.status()).toBe("finalizing");
    expect(await batch.query("SELECT sealed_key FROM batch")).toEqual([{ sealed_key: null }]);
    passSeconds(60);
    await batch.alarm();
    expect((await batch.row())?.status).toBe("completed");
  });
});

describe("failed", () => {
  test("with every bad line, when the input is not acceptable; nothing is ever sent", async () => {
    const input = `{"custom_id":\n${inputLine(1)}\n${inputLine(1)}\n`;
    const batch = await HeldBatch.start({ input, sealedKey: "sealed" });
    passSeconds(1);
    await batch.alarm();
    expect(await batch.row()).toEqual({
      ...batch.record,
      status: "failed",
      errors: [
        { code: "invalid_json_line", message: "This line is not parseable as valid JSON.", param: null, line: 1 },
        expect.objectContaining({ code: "duplicate_custom_id", line: 3 }),
      ],
      times: { ...batch.record.times, failedAt: at(1) },
    });
    expect([batch.tokens, await batch.tables()]).toEqual([[], []]);
  });

  test("but not because of long custom_ids that differ in half a character", async () => {
    const [first, second] = ["d800", "d801"].map((half) =>
      inputLine(0).replace("line-0", `${"x".repeat(60)}\\u${half}`),
    );
    const batch = await HeldBatch.launch({ input: `${first}\n${second}\n` });
    expect(await batch.snapshot()).toMatchObject({ status: "in_progress", counts: { total: 2 } });
  });

  test.each([["there is no such file", "file-unknown"]])("when %s", async (_, inputFileId) => {
    const batch = (await HeldBatch.prepare()).with({ inputFileId });
    await batch.begin();
    await batch.alarm();
    expect((await batch.row())?.errors).toEqual([
      {
        code: "invalid_request",
        message: `Cannot find file ${inputFileId}, or organization ${batch.record.tenant} does not have access to it.`,
        param: "file_id",
        line: null,
      },
    ]);
  });

  test("when the file is another tenant's", async () => {
    const other = await HeldBatch.prepare();
    const batch = (await HeldBatch.prepare()).with({ inputFileId: other.record.inputFileId });
    await batch.begin();
    await batch.alarm();
    expect(await batch.row()).toMatchObject({ status: "failed", errors: [{ code: "invalid_request" }] });
  });

  test("when the bytes of the input vanish while it runs; every line is accounted for", async () => {
    const batch = await HeldBatch.launch({ lines: 3 });
    const work = await batch.take();
    await batch.settle({ ...work, slices: work.slices.slice(0, 1) });
    await env.BUCKET.delete(fileKey(batch.record.inputFileId));
    await batch.report({ token: work.token, inputMissing: true, phase: "leaving" });
    await batch.alarm();
    const row = await batch.row();
    expect(row).toMatchObject({
      status: "failed",
      counts: { total: 3, completed: 1, failed: 0 },
      errors: [{ code: "invalid_request", param: "file_id", line: null }],
    });
    expect(await batch.readLines(row?.outputFileId)).toMatchObject([{ custom_id: "line-0" }]);
    const unavailable = { custom_id: null, response: null, error: { code: "input_file_unavailable" } };
    expect(await batch.readLines(row?.errorFileId)).toMatchObject([unavailable, unavailable]);
  });
});

describe.each([
  ["cancelled", "batch_cancelled", "This request was not executed because the batch was cancelled."],
  ["expired", "batch_expired", "This request could not be executed before the completion window expired."],
] as const)("%s", (status, code, message) => {
  async function end(batch: HeldBatch): Promise<void> {
    if (status === "cancelled") await batch.stub.cancel();
    else vi.setSystemTime(batch.record.expiresAt);
    await batch.alarm();
  }

  test("while validating: there is nothing to show", async () => {
    const batch = await HeldBatch.start();
    await end(batch);
    expect(await batch.row()).toMatchObject({ status, outputFileId: null, errorFileId: null, counts: { total: 0 } });
    expect([batch.tokens, await batch.tables()]).toEqual([[], []]);
  });

  test("before any line ran: every line gets its error", async () => {
    const batch = await HeldBatch.launch({ lines: 120 });
    await end(batch);
    const row = await batch.row();
    expect((await batch.file(row?.errorFileId))?.createdAt).toEqual(new Date());
    expect(row).toMatchObject({ status, outputFileId: null, counts: { total: 120, completed: 0, failed: 0 } });
    expect(await batch.readLines(row?.errorFileId)).toEqual(
      Array.from({ length: 120 }, (_, line) => ({
        id: REQUEST_ID,
        custom_id: `line-${line}`,
        response: null,
        error: { code, message },
      })),
    );
  });

  test("with lines in flight: they may still finish, and what was done is kept", async () => {
    const batch = await HeldBatch.launch({ lines: 4, windowSeconds: 20 });
    const { token, slices } = await batch.take();
    await batch.settle({ token, slices: slices.slice(1, 2) }, { usage: SOME_USAGE });
    await end(batch);
    expect(await batch.status()).toBe(status === "cancelled" ? "cancelling" : "in_progress");
    expect(await batch.settle({ token, slices: slices.slice(3) }, { failed: [3] })).toEqual({ kind: "stop" });
    await batch.report({ token, phase: "leaving" });
    await batch.alarm();
    const row = await batch.row();
    expect(row).toMatchObject({ status, counts: { total: 4, completed: 1, failed: 1 }, usage: SOME_USAGE });
    expect(await batch.readLines(row?.outputFileId)).toMatchObject([{ custom_id: "line-1" }]);
    expect(await batch.readLines(row?.errorFileId)).toMatchObject([
      { custom_id: "line-0", error: { code } },
      { custom_id: "line-2", error: { code } },
      { custom_id: "line-3" },
    ]);
  });

  test("waits ten minutes for what is in flight and never comes back", async () => {
    const batch = await HeldBatch.launch({ lines: 2, windowSeconds: 20 });
    const { token, slices } = await batch.take();
    await end(batch);
    for (let beats = 0; beats < 59; beats += 1) {
      passSeconds(10);
      expect(await batch.report({ token, phase: "winding_down" })).toEqual({ kind: "stop" });
      await batch.alarm();
    }
    expect((await batch.row())?.status).not.toBe(status);
    passSeconds(10);
    await batch.alarm();
    expect(await batch.row()).toMatchObject({ status, counts: { total: 2, completed: 0, failed: 0 } });
    expect(await batch.settle({ token, slices })).toEqual({ kind: "unknown" });
  });

  test("a deleted input is kept to the end, and removed then", async () => {
    const batch = await HeldBatch.launch({ lines: 1 });
    const { inputFileId: id, tenant } = batch.record;
    await hideFile(env.DB, { id, tenant, now: new Date() });
    await end(batch);
    const row = await batch.row();
    expect(await batch.readLines(row?.errorFileId)).toMatchObject([{ custom_id: "line-0", error: { code } }]);
    expect(await env.BUCKET.head(fileKey(id))).toBeNull();
    expect(await env.DB.prepare("SELECT 1 FROM files WHERE id = ?1").bind(id).first()).toBeNull();
  });
});
