import { describe, expect, test } from "vitest";
import { holdClockAndQueue, interrupt, passSeconds, HeldBatch } from "../support/held-batch.ts";

holdClockAndQueue();

const WINDOW_SECONDS = 20;

function launch(): Promise<HeldBatch> {
  return HeldBatch.launch({ windowSeconds: WINDOW_SECONDS });
}

describe("expiry against the last report", () => {
  test("the report first: the batch completes, although its window ends before its files are written", async () => {
    const batch = await launch();
    const work = await batch.take();
    passSeconds(WINDOW_SECONDS);
    await batch.settle(work);
    passSeconds(1);
    await batch.alarm();
    expect(await batch.row()).toMatchObject({ status: "completed", counts: { completed: 3 } });
  });

  test("expiry first, some lines still out: what is reported counts, what is not is expired", async () => {
    const batch = await launch();
    const { token, slices } = await batch.take();
    passSeconds(WINDOW_SECONDS);
    await batch.alarm();
    await batch.settle({ token, slices: slices.slice(0, 2) }, { phase: "leaving" });
    await batch.alarm();
    const row = await batch.row();
    expect(row).toMatchObject({ status: "expired", counts: { total: 3, completed: 2, failed: 0 } });
    expect(await batch.readLines(row?.outputFileId)).toMatchObject([{ custom_id: "line-0" }, { custom_id: "line-1" }]);
    expect(await batch.readLines(row?.errorFileId)).toMatchObject([{ custom_id: "line-2" }]);
  });

  test("expiry first, then every line comes in: nothing is missing, so it completes", async () => {
    const batch = await launch();
    const work = await batch.take();
    passSeconds(WINDOW_SECONDS);
    await batch.alarm();
    await batch.settle(work);
    await batch.alarm();
    expect(await batch.row()).toMatchObject({ status: "completed", counts: { completed: 3 }, errorFileId: null });
  });

  test("both at once: every line has one result", async () => {
    const batch = await launch();
    const { token, slices } = await batch.take();
    await batch.settle({ token, slices: slices.slice(1) });
    passSeconds(WINDOW_SECONDS);
    await Promise.all([batch.alarm(), batch.settle({ token, slices: slices.slice(0, 1) }, { phase: "leaving" })]);
    while ((await batch.alarmTime()) !== null) await batch.alarm();
    const row = await batch.row();
    const lines = [...(await batch.readLines(row?.outputFileId)), ...(await batch.readLines(row?.errorFileId))];
    expect(lines.map((line) => line["custom_id"])).toEqual(["line-0", "line-1", "line-2"]);
  });

  test("a report that comes while the error lines are written changes nothing", async () => {
    const batch = await launch();
    const work = await batch.take();
    await batch.report({ token: work.token, phase: "leaving" });
    passSeconds(WINDOW_SECONDS);
    const replies: unknown[] = [];
    interrupt("get", async () => replies.push(await batch.settle(work)));
    await batch.alarm();
    expect(replies).toEqual([{ kind: "unknown" }]);
    expect(await batch.row()).toMatchObject({ status: "expired", counts: { completed: 0 }, outputFileId: null });
  });
});
