import { describe, expect, test } from "vitest";
import { GONE } from "./cancel-replies.ts";
import { holdClockAndQueue, interrupt, NOON, passSeconds, StillBatch } from "./still-batch.ts";

holdClockAndQueue();

describe("two cancels", () => {
  test("at once: both are told the same", async () => {
    const batch = await StillBatch.launch();
    await batch.take();
    const [first, second] = await Promise.all([batch.stub.cancel(), batch.stub.cancel()]);
    expect(first).toMatchObject({ ok: true, batch: { status: "cancelling", times: { cancellingAt: NOON } } });
    expect(second).toEqual(first);
  });

  test("one after the other: the first one's time stays, and nothing is put off", async () => {
    const batch = await StillBatch.launch();
    const { token } = await batch.take();
    await batch.stub.cancel();
    for (let seconds = 0; seconds < 600; seconds += 30) {
      expect(await batch.stub.cancel()).toMatchObject({ ok: true, batch: { times: { cancellingAt: NOON } } });
      await batch.report({ token, phase: "winding_down" });
      passSeconds(30);
    }
    await batch.alarm();
    expect(await batch.row()).toMatchObject({ status: "cancelled", times: { cancellingAt: NOON } });
  });

  test("the second while error lines are written: it is told the same", async () => {
    const batch = await StillBatch.launch();
    await batch.stub.cancel();
    const replies: unknown[] = [];
    interrupt("put", async () => replies.push(await batch.stub.cancel()));
    await batch.alarm();
    expect(replies).toMatchObject([{ ok: true, batch: { status: "cancelling" } }]);
    expect(await batch.stub.cancel()).toEqual(GONE);
  });
});
