/** What a coordinator gives to a consumer that works for other dispatches, and has some slots to spare. */
import { expect, test } from "vitest";
import { HeldBatch, holdClockAndQueue, passSeconds } from "../support/held-batch.ts";

holdClockAndQueue();

function linesOf(slices: readonly { readonly lines: readonly unknown[] }[]): number {
  return slices.reduce((sum, { lines }) => sum + lines.length, 0);
}

test("the dispatch that has waited longest is claimed, and its message means nothing any more", async () => {
  const batch = await HeldBatch.launch({ lines: 20 });
  const [first = "none", ...others] = batch.tokens;
  const next = await batch.stub.claimNext(2);
  expect(next).toMatchObject({ kind: "run", token: first, slots: 2, batch: { batchId: batch.id } });
  expect(linesOf(next?.slices ?? [])).toBeGreaterThan(0);
  expect(await batch.claim(first)).toEqual({ kind: "unknown" });
  for (const token of others) expect(await batch.claim(token)).toMatchObject({ kind: "run" });
});

test("one that would have been sent next is claimed when none waits", async () => {
  const batch = await HeldBatch.launch({ lines: 20, settings: { LINES_PER_INVOCATION: "5" } });
  const taken = await Promise.all(batch.tokens.map(() => batch.stub.claimNext(1)));
  const next = await batch.stub.claimNext(3);
  expect(next).toMatchObject({ kind: "run", slots: 3 });
  expect([...batch.tokens, ...taken.map((one) => one?.token)]).not.toContain(next?.token);
});

test("it has no more slots than its consumer says, and more when that says so", async () => {
  const batch = await HeldBatch.launch({ lines: 40, settings: { LINES_PER_INVOCATION: "5" } });
  const next = await batch.stub.claimNext(1);
  const report = { token: next?.token ?? "none", inFlight: 1, waiting: 0, canUse: 1 };
  expect(await batch.report({ ...report, wantedLines: 2 })).toMatchObject({ slots: 1 });
  expect(await batch.report({ ...report, wantedLines: 2, canUse: 4 })).toMatchObject({ slots: 4 });
});

test("there is nothing when others have all lines, when the batch is cancelled, and when nobody knows it", async () => {
  const batch = await HeldBatch.launch({ lines: 3 });
  await batch.take();
  expect(await batch.stub.claimNext(5)).toBeNull();
  const cancelled = await HeldBatch.launch({ lines: 3 });
  await cancelled.stub.cancel();
  expect(await cancelled.stub.claimNext(5)).toBeNull();
  expect(await (await HeldBatch.prepare()).stub.claimNext(5)).toBeNull();
});

test("a line that consumers have died with is left in the queue, to run alone", async () => {
  const batch = await HeldBatch.launch({ lines: 1 });
  for (let deaths = 0; deaths < 2; deaths += 1) {
    await batch.take();
    passSeconds(45);
    await batch.alarm();
  }
  expect(await batch.stub.claimNext(5)).toBeNull();
  expect(await batch.claim()).toMatchObject({ kind: "run", slots: 1, mayHaveMore: false });
});
