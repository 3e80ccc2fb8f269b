import { env } from "cloudflare:workers";
import { describe, expect, test, vi } from "vitest";
import { tooLate } from "./cancel-replies.ts";
import { holdClockAndQueue, interrupt, NOON, passSeconds, StillBatch } from "./still-batch.ts";

holdClockAndQueue();

describe("cancel against validating", () => {
  test("before the input is opened: nothing is read or sent", async () => {
    const batch = await StillBatch.start();
    const get = vi.spyOn(env.BUCKET, "get");
    const reply = await batch.stub.cancel();
    expect(reply).toMatchObject({ ok: true, batch: { status: "cancelling", times: { cancellingAt: NOON } } });
    await batch.alarm();
    expect(await batch.row()).toMatchObject({ status: "cancelled", times: { inProgressAt: null, cancelledAt: NOON } });
    expect([get.mock.calls, batch.tokens]).toEqual([[], []]);
  });

  test("while the input is read: the verdict is not waited for", async () => {
    const batch = await StillBatch.start();
    interrupt("get", () => batch.stub.cancel());
    await batch.alarm();
    expect(await batch.row()).toMatchObject({ status: "cancelled", times: { inProgressAt: null } });
    expect(batch.tokens).toEqual([]);
  });

  test("while a bad input is read: the batch is cancelled, not failed", async () => {
    const batch = await StillBatch.start({ input: "no JSON\n" });
    interrupt("get", () => batch.stub.cancel());
    await batch.alarm();
    expect(await batch.row()).toMatchObject({ status: "cancelled", errors: null });
  });

  test("while a failed verdict waits to be shown: it is too late", async () => {
    const batch = await StillBatch.start({ input: "no JSON\n" });
    vi.spyOn(env.DB, "batch").mockRejectedValueOnce(new Error("D1 is down"));
    await batch.alarm();
    expect(await batch.stub.cancel()).toEqual(tooLate("failed"));
    passSeconds(60);
    await batch.alarm();
    expect((await batch.row())?.status).toBe("failed");
  });
});
