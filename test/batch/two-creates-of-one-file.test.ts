import { describe, expect, test } from "vitest";
import { holdClockAndQueue, HeldBatch } from "../support/held-batch.ts";
import { hideInput, isInputThere } from "./input-file.ts";

holdClockAndQueue();

describe("two batches of one file", () => {
  async function launchTwo(): Promise<readonly [HeldBatch, HeldBatch]> {
    const first = await HeldBatch.launch();
    return [first, await HeldBatch.launch({ beside: first })];
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
    const first = await HeldBatch.prepare();
    const second = await HeldBatch.prepare({ beside: first });
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
    const owner = await HeldBatch.launch();
    await hideInput(owner);
    const stranger = (await HeldBatch.prepare()).with({ inputFileId: owner.record.inputFileId });
    await stranger.begin();
    await stranger.alarm();
    expect((await stranger.row())?.status).toBe("failed");
    expect(await isInputThere(owner)).toBe(true);
  });
});
