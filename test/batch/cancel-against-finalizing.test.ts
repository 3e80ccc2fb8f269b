import { describe, expect, test } from "vitest";
import { GONE, tooLate } from "./cancel-replies.ts";
import { holdClockAndQueue, interrupt, passSeconds, StillBatch } from "./still-batch.ts";

holdClockAndQueue();

describe("cancel against finalizing", () => {
  test.each(["get", "put"] as const)("during an R2 %s: it is too late", async (call) => {
    const batch = await StillBatch.launch();
    await batch.settle(await batch.take());
    const replies: unknown[] = [];
    interrupt(call, async () => replies.push(await batch.stub.cancel()));
    await batch.alarm();
    expect(replies).toEqual([tooLate("finalizing")]);
    expect((await batch.row())?.status).toBe("completed");
  });

  test("once clients can see the end: it names it", async () => {
    const batch = await StillBatch.launch();
    await batch.settle(await batch.take());
    const replies: unknown[] = [];
    interrupt("list", async () => replies.push(await batch.stub.cancel(), (await batch.row())?.status));
    await batch.alarm();
    expect(replies).toEqual([tooLate("completed"), "completed"]);
    expect(await batch.stub.cancel()).toEqual(GONE);
  });

  test("of an expired batch: it is too late", async () => {
    const batch = await StillBatch.launch({ windowSeconds: 20 });
    await batch.take();
    passSeconds(20);
    await batch.alarm();
    expect(await batch.stub.cancel()).toEqual(tooLate("expired"));
  });
});
