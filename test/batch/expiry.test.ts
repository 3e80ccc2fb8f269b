import { env } from "cloudflare:workers";
import { describe, expect, test, vi } from "vitest";
import { holdClockAndQueue, interrupt, passSeconds, HeldBatch } from "../support/held-batch.ts";

holdClockAndQueue();

const WINDOW_SECONDS = 20;

function launch(): Promise<HeldBatch> {
  return HeldBatch.launch({ windowSeconds: WINDOW_SECONDS });
}

test("the object wakes by itself when the window ends", async () => {
  const batch = await launch();
  await batch.take();
  for (let wakes = 0; wakes < 10 && Date.now() < batch.record.expiresAt.getTime(); wakes += 1) {
    vi.setSystemTime((await batch.alarmTime()) ?? 0);
    await batch.alarm();
  }
  expect(new Date()).toEqual(batch.record.expiresAt);
  expect(await batch.report({ token: batch.lastToken, wantedLines: 1 })).toEqual({ kind: "stop" });
});

describe("once the window is over, before anything has noticed", () => {
  test("a dispatch is handed no line", async () => {
    const batch = await launch();
    passSeconds(WINDOW_SECONDS);
    expect(await batch.claim()).toEqual({ kind: "stop" });
    await batch.alarm();
    expect((await batch.row())?.status).toBe("expired");
  });

  test("a consumer at work is handed no more", async () => {
    const batch = await HeldBatch.launch({ lines: 400, windowSeconds: WINDOW_SECONDS });
    const { token } = await batch.take();
    passSeconds(WINDOW_SECONDS);
    expect(await batch.report({ token, wantedLines: 10 })).toEqual({ kind: "stop" });
  });

  test("a cancel still counts", async () => {
    const batch = await launch();
    passSeconds(WINDOW_SECONDS);
    expect(await batch.stub.cancel()).toMatchObject({ ok: true });
    await batch.alarm();
    expect((await batch.row())?.status).toBe("cancelled");
  });
});

describe("expiry against other ends", () => {
  test("of a cancelling batch: it is cancelled", async () => {
    const batch = await launch();
    const { token } = await batch.take();
    await batch.stub.cancel();
    passSeconds(WINDOW_SECONDS + 1);
    await batch.alarm();
    await batch.report({ token, phase: "leaving" });
    await batch.alarm();
    expect(await batch.row()).toMatchObject({ status: "cancelled", times: { expiredAt: null } });
  });

  test("of a finalizing batch: it completes", async () => {
    const batch = await launch();
    await batch.settle(await batch.take());
    vi.spyOn(env.BUCKET, "put").mockRejectedValueOnce(new Error("R2 is down"));
    await batch.alarm();
    passSeconds(WINDOW_SECONDS + 1);
    await batch.alarm();
    expect(await batch.row()).toMatchObject({ status: "completed", times: { expiredAt: null } });
  });

  test("while the input is read: it expires with every line", async () => {
    const batch = await HeldBatch.start({ windowSeconds: WINDOW_SECONDS });
    interrupt("get", () => {
      passSeconds(WINDOW_SECONDS);
      return Promise.resolve();
    });
    for (let passes = 0; passes < 3; passes += 1) await batch.alarm();
    const row = await batch.row();
    expect(row).toMatchObject({ status: "expired", counts: { total: 3, completed: 0, failed: 0 } });
    expect(await batch.readLines(row?.errorFileId)).toHaveLength(3);
  });

  test("of a batch whose input cannot be read: it expires, and tries no more", async () => {
    const batch = await HeldBatch.start({ windowSeconds: 600 });
    const get = vi.spyOn(env.BUCKET, "get").mockRejectedValue(new Error("R2 is down"));
    for (let wakes = 0; wakes < 100 && (await batch.alarmTime()) !== null; wakes += 1) {
      vi.setSystemTime(Math.max((await batch.alarmTime()) ?? 0, Date.now()));
      await batch.alarm();
    }
    expect((await batch.row())?.status).toBe("expired");
    expect(get.mock.calls.length).toBeLessThan(20);
  });
});
