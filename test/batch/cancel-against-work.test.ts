import { describe, expect, test } from "vitest";
import { holdClockAndQueue, NOON, StillBatch } from "./still-batch.ts";

holdClockAndQueue();

describe("cancel against work", () => {
  test("with dispatches in the queue alone waits for nothing", async () => {
    const batch = await StillBatch.launch();
    await batch.stub.cancel();
    await batch.alarm();
    expect((await batch.row())?.status).toBe("cancelled");
  });

  test("is listed as cancelling while lines are in flight", async () => {
    const batch = await StillBatch.launch();
    await batch.take();
    await batch.stub.cancel();
    await batch.alarm();
    expect(await batch.row()).toMatchObject({ status: "cancelling", times: { cancellingAt: NOON } });
  });

  test("sends no further dispatch, whatever is given back", async () => {
    const batch = await StillBatch.launch();
    const { token } = await batch.take();
    await batch.stub.cancel();
    await batch.report({ token, givenBack: [{ line: 0, attempts: 1, dueAt: null }], wantedLines: 5 });
    await batch.alarm();
    expect(batch.tokens).toHaveLength(1);
  });
});
