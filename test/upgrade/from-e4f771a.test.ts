/** What commit e4f771a has stored, half done, is finished by the code of today: README.md says how it was made. */
import { env } from "cloudflare:workers";
import { runInDurableObject } from "cloudflare:test";
import { beforeAll, expect, test, vi } from "vitest";
import { BatchStorage } from "../../src/batch/storage.ts";
import { chunkKey } from "../../src/stores/object-keys.ts";
import { deliver, workToTheEnd } from "../support/delivery.ts";
import { HeldBatch, holdClockAndQueue } from "../support/held-batch.ts";
import { type OldState, restoreBucket, restoreDatabase, restoreObject } from "./old-state.ts";
import stored from "./state-of-e4f771a.json";

const state: OldState = stored;

/** Its batches are in D1 until the test that finishes one has ended: afterEach empties the table. */
holdClockAndQueue(["Date", "setTimeout", "clearTimeout"]);

type OldBatch = keyof typeof stored.objects;

/** @param more values that the object had stored besides. */
async function restore(name: OldBatch, more: Readonly<Record<string, unknown>> = {}): Promise<HeldBatch> {
  vi.setSystemTime(state.now);
  const object = stored.objects[name];
  await restoreObject({ ...object, kv: { ...object.kv, ...more } });
  const record = await env.COORDINATORS.getByName(stored.objects[name].id).snapshot();
  if (record === null) throw new Error("the object does not know its batch");
  return (await HeldBatch.prepare()).with(record);
}

async function customIds(batch: HeldBatch): Promise<readonly string[]> {
  const row = await batch.row();
  const lines = [...(await batch.readLines(row?.outputFileId)), ...(await batch.readLines(row?.errorFileId))];
  return lines.map((line) => String(line["custom_id"])).toSorted();
}

function idsOf(lines: number): readonly string[] {
  return Array.from({ length: lines }, (_, line) => `line-${line}`).toSorted();
}

beforeAll(async () => {
  await restoreDatabase(stored.database);
  await restoreBucket(stored.bucket);
});

test("a batch that runs goes on: with the message that is in the queue, and the consumer that is at work", async () => {
  const batch = await restore("halfDone");
  expect(await batch.snapshot()).toMatchObject({
    status: "in_progress",
    counts: { completed: 1, failed: 1, total: 40 },
  });
  const working = stored.objects.halfDone.rows.slices.find(({ token }) => token !== null);
  const token = working?.token ?? "";
  const line = working?.first_line ?? -1;
  const key = chunkKey(batch.id, crypto.randomUUID());
  const text = `${JSON.stringify({ custom_id: `line-${line}` })}\n`;
  await env.BUCKET.put(key, text);
  // As a consumer of that version reports.
  const reply = await batch.report({
    token,
    chunk: { key, lines: [{ line, bytes: text.length, result: "completed" }] },
  });
  expect(reply.kind).toBe("run");
  const waiting = stored.objects.halfDone.rows.dispatches.find(({ phase }) => phase === "sent");
  await deliver([{ batchId: batch.id, token: waiting?.token }]);
  await workToTheEnd(batch);
  expect(await batch.row()).toMatchObject({ status: "completed", counts: { total: 40, completed: 39, failed: 1 } });
  expect(await customIds(batch)).toEqual(idsOf(40));
});

test("the share and the pause that were stored are ignored, and the status that D1 shows is read", async () => {
  const pause = { reason: "away", failure: null, since: state.now, probeAt: state.now + 3_600_000, seconds: 60 };
  const batch = await restore("halfDone", { pause });
  const shown = await runInDurableObject(batch.stub, (_, { storage }) => new BatchStorage(storage).readShownStatus());
  expect(shown).toBe("in_progress");
  expect(await batch.snapshot()).not.toHaveProperty("pause");
  await workToTheEnd(batch);
  expect(await batch.row()).toMatchObject({ status: "completed", counts: { total: 40 } });
});

test("a batch that is being cancelled ends cancelled, with an error line for each line that never ran", async () => {
  const batch = await restore("cancelling");
  await workToTheEnd(batch);
  const row = await batch.row();
  expect(row).toMatchObject({ status: "cancelled", counts: { total: 40, completed: 1, failed: 1 }, errors: null });
  expect(await customIds(batch)).toEqual(idsOf(40));
});

test("a batch whose files were begun is finished", async () => {
  const batch = await restore("finalizing");
  await workToTheEnd(batch);
  expect(await batch.row()).toMatchObject({ status: "completed", counts: { total: 3, completed: 2, failed: 1 } });
  expect(await customIds(batch)).toEqual(idsOf(3));
});
