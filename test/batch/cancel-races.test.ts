/** A cancel against everything that may happen to its batch at the same moment, a second cancel among it. */
import { env } from "cloudflare:workers";
import { describe, expect, test, vi } from "vitest";
import { HeldBatch, holdClockAndQueue, interrupt, NOON, passSeconds } from "../support/held-batch.ts";

holdClockAndQueue();

const GONE = { ok: false, reason: "gone" };

function tooLate(status: string) {
  return { ok: false, reason: "too_late", status };
}

describe("cancel against validating", () => {
  test("before the input is opened: nothing is read or sent", async () => {
    const batch = await HeldBatch.start();
    const get = vi.spyOn(env.BUCKET, "get");
    const reply = await batch.stub.cancel();
    expect(reply).toMatchObject({ ok: true, batch: { status: "cancelling", times: { cancellingAt: NOON } } });
    await batch.alarm();
    expect(await batch.row()).toMatchObject({ status: "cancelled", times: { inProgressAt: null, cancelledAt: NOON } });
    expect([get.mock.calls, batch.tokens]).toEqual([[], []]);
  });

  test("while the input is read: the verdict is not waited for", async () => {
    const batch = await HeldBatch.start();
    interrupt("get", () => batch.stub.cancel());
    await batch.alarm();
    expect(await batch.row()).toMatchObject({ status: "cancelled", times: { inProgressAt: null } });
    expect(batch.tokens).toEqual([]);
  });

  test("while a bad input is read: the batch is cancelled, not failed", async () => {
    const batch = await HeldBatch.start({ input: "no JSON\n" });
    interrupt("get", () => batch.stub.cancel());
    await batch.alarm();
    expect(await batch.row()).toMatchObject({ status: "cancelled", errors: null });
  });

  test("while a failed verdict waits to be shown: it is too late", async () => {
    const batch = await HeldBatch.start({ input: "no JSON\n" });
    vi.spyOn(env.DB, "batch").mockRejectedValueOnce(new Error("D1 is down"));
    await batch.alarm();
    expect(await batch.stub.cancel()).toEqual(tooLate("failed"));
    passSeconds(60);
    await batch.alarm();
    expect((await batch.row())?.status).toBe("failed");
  });
});

describe("cancel against work", () => {
  test("with dispatches in the queue alone waits for nothing", async () => {
    const batch = await HeldBatch.launch();
    await batch.stub.cancel();
    await batch.alarm();
    expect((await batch.row())?.status).toBe("cancelled");
  });

  test("is listed as cancelling while lines are in flight", async () => {
    const batch = await HeldBatch.launch();
    await batch.take();
    await batch.stub.cancel();
    await batch.alarm();
    expect(await batch.row()).toMatchObject({ status: "cancelling", times: { cancellingAt: NOON } });
  });

  test("sends no further dispatch, whatever is given back", async () => {
    const batch = await HeldBatch.launch();
    const { token } = await batch.take();
    await batch.stub.cancel();
    await batch.report({ token, givenBack: [{ line: 0, attempts: 1, dueAt: null }], wantedLines: 5 });
    await batch.alarm();
    expect(batch.tokens).toHaveLength(1);
  });
});

describe("cancel against the last report", () => {
  test("the report first: it is too late, and the batch completes", async () => {
    const batch = await HeldBatch.launch();
    await batch.settle(await batch.take());
    expect(await batch.stub.cancel()).toEqual(tooLate("finalizing"));
    await batch.alarm();
    expect((await batch.row())?.status).toBe("completed");
  });

  test("the cancel first: the batch is cancelled, with every result it has", async () => {
    const batch = await HeldBatch.launch();
    const work = await batch.take();
    expect(await batch.stub.cancel()).toMatchObject({ ok: true });
    await batch.settle(work, { phase: "leaving" });
    await batch.alarm();
    const row = await batch.row();
    expect(row).toMatchObject({ status: "cancelled", counts: { completed: 3 }, errorFileId: null });
    expect(await batch.readLines(row?.outputFileId)).toHaveLength(3);
  });

  test("both at once: what the client is told is what comes true", async () => {
    const batch = await HeldBatch.launch();
    const work = await batch.take();
    const [reply] = await Promise.all([batch.stub.cancel(), batch.settle(work)]);
    await batch.alarm();
    const row = await batch.row();
    expect(row?.status).toBe(reply.ok ? "cancelled" : "completed");
    expect(row?.counts).toEqual({ total: 3, completed: 3, failed: 0 });
  });
});

describe("cancel against finalizing", () => {
  test.each(["get", "put"] as const)("during an R2 %s: it is too late", async (call) => {
    const batch = await HeldBatch.launch();
    await batch.settle(await batch.take());
    const replies: unknown[] = [];
    interrupt(call, async () => replies.push(await batch.stub.cancel()));
    await batch.alarm();
    expect(replies).toEqual([tooLate("finalizing")]);
    expect((await batch.row())?.status).toBe("completed");
  });

  test("once clients can see the end: it names it", async () => {
    const batch = await HeldBatch.launch();
    await batch.settle(await batch.take());
    const replies: unknown[] = [];
    interrupt("list", async () => replies.push(await batch.stub.cancel(), (await batch.row())?.status));
    await batch.alarm();
    expect(replies).toEqual([tooLate("completed"), "completed"]);
    expect(await batch.stub.cancel()).toEqual(GONE);
  });

  test("of an expired batch: it is too late", async () => {
    const batch = await HeldBatch.launch({ windowSeconds: 20 });
    await batch.take();
    passSeconds(20);
    await batch.alarm();
    expect(await batch.stub.cancel()).toEqual(tooLate("expired"));
  });
});

describe("two cancels", () => {
  test("at once: both are told the same", async () => {
    const batch = await HeldBatch.launch();
    await batch.take();
    const [first, second] = await Promise.all([batch.stub.cancel(), batch.stub.cancel()]);
    expect(first).toMatchObject({ ok: true, batch: { status: "cancelling", times: { cancellingAt: NOON } } });
    expect(second).toEqual(first);
  });

  test("one after the other: the first one's time stays, and nothing is put off", async () => {
    const batch = await HeldBatch.launch();
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
    const batch = await HeldBatch.launch();
    await batch.stub.cancel();
    const replies: unknown[] = [];
    interrupt("put", async () => replies.push(await batch.stub.cancel()));
    await batch.alarm();
    expect(replies).toMatchObject([{ ok: true, batch: { status: "cancelling" } }]);
    expect(await batch.stub.cancel()).toEqual(GONE);
  });
});
