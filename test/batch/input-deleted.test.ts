import { describe, expect, test } from "vitest";
import { holdClockAndQueue, interrupt, passSeconds, HeldBatch } from "../support/held-batch.ts";
import { hideInput, isInputThere, removeInput } from "./input-file.ts";

holdClockAndQueue();

describe("an input that is deleted", () => {
  test("before its batch is created makes it fail, with the reason", async () => {
    const batch = await HeldBatch.prepare();
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
    const batch = await HeldBatch.start();
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
    const batch = await HeldBatch.start();
    interrupt("get", () => hideInput(batch));
    await batch.alarm();
    expect(await batch.status()).toBe("in_progress");
  });

  test("with its bytes, before it is read, makes its batch fail, with the reason", async () => {
    const batch = await HeldBatch.start();
    await removeInput(batch);
    await batch.alarm();
    expect(await batch.row()).toMatchObject({ status: "failed", errors: [{ code: "invalid_request" }] });
  });

  test("at the very end is removed, whoever comes first", async () => {
    const batch = await HeldBatch.launch();
    await batch.settle(await batch.take());
    interrupt("list", () => hideInput(batch));
    await batch.alarm();
    expect((await batch.row())?.status).toBe("completed");
    expect(await isInputThere(batch)).toBe(false);
  });

  test("and is refused by validation is removed as well", async () => {
    const batch = await HeldBatch.start({ input: "no JSON\n" });
    await hideInput(batch);
    await batch.alarm();
    expect((await batch.row())?.status).toBe("failed");
    expect(await isInputThere(batch)).toBe(false);
  });
});
