import { env } from "cloudflare:workers";
import { runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { describe, expect, test, vi } from "vitest";
import { holdClockAndQueue, passSeconds, HeldBatch } from "../support/held-batch.ts";

holdClockAndQueue();

describe("an alarm that fires twice", () => {
  async function fireTwice(batch: HeldBatch): Promise<void> {
    await batch.alarm();
    await runInDurableObject(batch.stub, (_, state) => state.storage.setAlarm(Date.now()));
    await batch.alarm();
  }

  test("at every step changes nothing the second time", async () => {
    const batch = await HeldBatch.start();
    await fireTwice(batch);
    expect(batch.tokens).toHaveLength(1);
    await batch.settle(await batch.take(), { failed: [2] });
    await fireTwice(batch);
    const row = await batch.row();
    expect(row).toMatchObject({ status: "completed", counts: { total: 3, completed: 2, failed: 1 } });
    expect(await batch.readLines(row?.outputFileId)).toHaveLength(2);
    await fireTwice(batch);
    expect(await batch.row()).toEqual(row);
    expect(await batch.tables()).toEqual([]);
  });

  test("after the end leaves deleted result files deleted", async () => {
    const batch = await HeldBatch.launch({ lines: 1 });
    await batch.settle(await batch.take());
    vi.spyOn(env.BUCKET, "list").mockRejectedValueOnce(new Error("R2 is down"));
    await batch.alarm();
    const row = await batch.row();
    expect(row?.status).toBe("completed");
    await env.DB.prepare("DELETE FROM files WHERE id = ?1").bind(row?.outputFileId).run();
    passSeconds(60);
    await fireTwice(batch);
    expect(await batch.file(row?.outputFileId)).toBeNull();
    expect(await batch.tables()).toEqual([]);
  });

  test("at the same time runs once", async () => {
    const batch = await HeldBatch.start();
    await Promise.all([runDurableObjectAlarm(batch.stub), runDurableObjectAlarm(batch.stub)]);
    expect(batch.tokens).toHaveLength(1);
  });

  test("while the batch is being started waits for it", async () => {
    const batch = await HeldBatch.prepare();
    const prepare = env.DB.prepare.bind(env.DB);
    const fired: Promise<boolean>[] = [];
    vi.spyOn(env.DB, "prepare").mockImplementation((sql) => {
      if (fired.length === 0 && sql.includes("INSERT INTO batches")) fired.push(batch.alarm());
      return prepare(sql);
    });
    await batch.begin();
    await Promise.all(fired);
    expect(fired).toHaveLength(1);
    await batch.alarm();
    expect(await batch.status()).toBe("in_progress");
  });
});
