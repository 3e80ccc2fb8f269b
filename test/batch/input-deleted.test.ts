import { env } from "cloudflare:workers";
import { describe, expect, test } from "vitest";
import { hideFile, removeFile } from "../../src/stores/files.ts";
import { fileKey } from "../../src/stores/object-keys.ts";
import { openDatabase } from "../../src/stores/schema.ts";
import { holdClockAndQueue, interrupt, passSeconds, StillBatch } from "./still-batch.ts";

holdClockAndQueue();

/** As the Files API does while a batch reads the file. */
async function hideInput({ order }: StillBatch): Promise<void> {
  await hideFile(await openDatabase(env.DB), { id: order.inputFileId, tenant: order.tenant, now: new Date() });
}

/** As the Files API does while none does. */
async function removeInput(batch: StillBatch): Promise<void> {
  await hideInput(batch);
  await removeFile(env.DB, env.BUCKET, batch.order.inputFileId);
}

async function isInputThere({ order }: StillBatch): Promise<boolean> {
  const [object, row] = await Promise.all([
    env.BUCKET.head(fileKey(order.inputFileId)),
    env.DB.prepare("SELECT 1 FROM files WHERE id = ?1").bind(order.inputFileId).first(),
  ]);
  expect(object === null).toBe(row === null);
  return object !== null;
}

describe("an input that is deleted", () => {
  test("before its batch is created makes it fail, with the reason", async () => {
    const batch = await StillBatch.prepare();
    await hideInput(batch);
    passSeconds(1);
    const late = batch.with({ createdAt: new Date() });
    await late.begin();
    await late.alarm();
    expect(await late.row()).toMatchObject({
      status: "failed",
      errors: [{ code: "invalid_request", param: "file_id", line: null }],
    });
    expect(await isInputThere(batch)).toBe(false);
  });

  test("after its batch is created, before it is read, is still run", async () => {
    const batch = await StillBatch.start();
    passSeconds(1);
    await hideInput(batch);
    await batch.alarm();
    await batch.settle(await batch.take());
    expect(await isInputThere(batch)).toBe(true);
    await batch.alarm();
    expect(await batch.row()).toMatchObject({ status: "completed", counts: { completed: 3 } });
    expect(await isInputThere(batch)).toBe(false);
  });

  test("while it is validated is still run", async () => {
    const batch = await StillBatch.start();
    interrupt("get", () => hideInput(batch));
    await batch.alarm();
    expect(await batch.status()).toBe("in_progress");
  });

  test("with its bytes, before it is read, makes its batch fail, with the reason", async () => {
    const batch = await StillBatch.start();
    await removeInput(batch);
    await batch.alarm();
    expect(await batch.row()).toMatchObject({ status: "failed", errors: [{ code: "invalid_request" }] });
  });

  test("at the very end is removed, whoever comes first", async () => {
    const batch = await StillBatch.launch();
    await batch.settle(await batch.take());
    interrupt("list", () => hideInput(batch));
    await batch.alarm();
    expect((await batch.row())?.status).toBe("completed");
    expect(await isInputThere(batch)).toBe(false);
  });

  test("and is refused by validation is removed as well", async () => {
    const batch = await StillBatch.start({ input: "no JSON\n" });
    await hideInput(batch);
    await batch.alarm();
    expect((await batch.row())?.status).toBe("failed");
    expect(await isInputThere(batch)).toBe(false);
  });
});

describe("two batches of one file", () => {
  async function launchTwo(): Promise<readonly [StillBatch, StillBatch]> {
    const first = await StillBatch.launch();
    return [first, await StillBatch.launch({ beside: first })];
  }

  test("are two batches: each has its own results", async () => {
    const batches = await launchTwo();
    for (const batch of batches) {
      await batch.settle(await batch.take());
      await batch.alarm();
    }
    const [first, second] = await Promise.all(batches.map((batch) => batch.row()));
    expect([first, second]).toMatchObject([{ status: "completed" }, { status: "completed" }]);
    expect(first?.outputFileId).not.toBe(second?.outputFileId);
    expect(await isInputThere(batches[0])).toBe(true);
  });

  test("created at once both run", async () => {
    const first = await StillBatch.prepare();
    const second = await StillBatch.prepare({ beside: first });
    await Promise.all([first.begin(), second.begin()]);
    await Promise.all([first.alarm(), second.alarm()]);
    expect([await first.status(), await second.status()]).toEqual(["in_progress", "in_progress"]);
  });

  test("keep a deleted file until the second one ends", async () => {
    const [first, second] = await launchTwo();
    await hideInput(first);
    await first.stub.cancel();
    await first.alarm();
    expect((await first.row())?.status).toBe("cancelled");
    expect(await isInputThere(second)).toBe(true);
    await second.settle(await second.take());
    await second.alarm();
    expect(await isInputThere(second)).toBe(false);
  });

  test("that end at once remove a deleted file, and neither stumbles over it", async () => {
    const [first, second] = await launchTwo();
    await hideInput(first);
    await Promise.all([first.stub.cancel(), second.stub.cancel()]);
    await Promise.all([first.alarm(), second.alarm()]);
    expect(await isInputThere(first)).toBe(false);
    expect([await first.tables(), await second.tables()]).toEqual([[], []]);
  });

  test("of two tenants: a stranger's failed batch removes nothing", async () => {
    const owner = await StillBatch.launch();
    await hideInput(owner);
    const stranger = (await StillBatch.prepare()).with({ inputFileId: owner.order.inputFileId });
    await stranger.begin();
    await stranger.alarm();
    expect((await stranger.row())?.status).toBe("failed");
    expect(await isInputThere(owner)).toBe(true);
  });
});
