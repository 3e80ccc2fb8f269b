import { describe, expect, test } from "vitest";
import { tooLate } from "./cancel-replies.ts";
import { holdClockAndQueue, StillBatch } from "./still-batch.ts";

holdClockAndQueue();

describe("cancel against the last report", () => {
  test("the report first: it is too late, and the batch completes", async () => {
    const batch = await StillBatch.launch();
    await batch.settle(await batch.take());
    expect(await batch.stub.cancel()).toEqual(tooLate("finalizing"));
    await batch.alarm();
    expect((await batch.row())?.status).toBe("completed");
  });

  test("the cancel first: the batch is cancelled, with every result it has", async () => {
    const batch = await StillBatch.launch();
    const work = await batch.take();
    expect(await batch.stub.cancel()).toMatchObject({ ok: true });
    await batch.settle(work, { phase: "leaving" });
    await batch.alarm();
    const row = await batch.row();
    expect(row).toMatchObject({ status: "cancelled", counts: { completed: 3 }, errorFileId: null });
    expect(await batch.readLines(row?.outputFileId)).toHaveLength(3);
  });

  test("both at once: what the client is told is what comes true", async () => {
    const batch = await StillBatch.launch();
    const work = await batch.take();
    const [reply] = await Promise.all([batch.stub.cancel(), batch.settle(work)]);
    await batch.alarm();
    const row = await batch.row();
    expect(row?.status).toBe(reply.ok ? "cancelled" : "completed");
    expect(row?.counts).toEqual({ total: 3, completed: 3, failed: 0 });
  });
});
