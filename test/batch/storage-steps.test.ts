import { runInDurableObject } from "cloudflare:test";
import { expect, test } from "vitest";
import { BatchStorage } from "../../src/batch/storage.ts";
import { FIRST_STORAGE_VERSION, NEWEST_STORAGE_VERSION, STORAGE_STEPS } from "../../src/batch/storage-steps.ts";
import { HeldBatch, holdClockAndQueue } from "../support/held-batch.ts";

holdClockAndQueue();

const LATER = 1000;
const STEPS = [
  { version: LATER + 1, statements: ["ALTER TABLE slices ADD COLUMN lapses INTEGER NOT NULL DEFAULT 0"] },
  { version: LATER + 2, statements: ["CREATE TABLE added (id INTEGER)", "INSERT INTO added (id) VALUES (1)"] },
];

function versionOf(batch: HeldBatch): Promise<unknown> {
  return runInDurableObject(batch.stub, (_, { storage }) => storage.kv.get("version"));
}

function upgrade(batch: HeldBatch, steps = STEPS): Promise<void> {
  return runInDurableObject(batch.stub, (_, { storage }) => new BatchStorage(storage).upgradeTables(steps));
}

test("the steps are numbered one after another", () => {
  const numbers = STORAGE_STEPS.map((_, index) => FIRST_STORAGE_VERSION + 1 + index);
  expect(STORAGE_STEPS.map(({ version }) => version)).toEqual(numbers);
});

test("a new object has the newest version", async () => {
  expect(await versionOf(await HeldBatch.start())).toBe(NEWEST_STORAGE_VERSION);
});

test("an object runs the steps that it lacks, each once", async () => {
  const batch = await HeldBatch.launch();
  await upgrade(batch);
  await upgrade(batch);
  expect(await versionOf(batch)).toBe(LATER + 2);
  expect(await batch.query("SELECT lapses FROM slices WHERE idx = 0")).toEqual([{ lapses: 0 }]);
  expect(await batch.query("SELECT id FROM added")).toEqual([{ id: 1 }]);
});

test("a step that fails leaves nothing of any", async () => {
  const batch = await HeldBatch.launch();
  const before = await versionOf(batch);
  const broken = { version: LATER + 3, statements: ["ALTER TABLE absent ADD COLUMN x TEXT"] };
  await runInDurableObject(batch.stub, (_, { storage }) => {
    const opened = new BatchStorage(storage);
    expect(() => opened.upgradeTables([...STEPS, broken])).toThrow("no such table");
  });
  expect(await versionOf(batch)).toBe(before);
  expect(await batch.query("SELECT name FROM sqlite_master WHERE name = 'added'")).toEqual([]);
});

test("an object that is newer than the code is used as it is", async () => {
  const batch = await HeldBatch.launch();
  await upgrade(batch);
  await batch.query("UPDATE slices SET progress = '[[3, 0, 1, null, \"more\", 7]]', token = NULL WHERE idx = 0");
  await batch.query("INSERT INTO dispatches (token, phase) VALUES ('t', 'unheard of')");
  const read = await runInDurableObject(batch.stub, (_, { storage }) => {
    const opened = new BatchStorage(storage);
    opened.upgradeTables();
    return { slices: opened.readSlices(), dispatches: opened.readDispatches() };
  });
  expect(read.slices[0]?.progress).toEqual([{ attempts: 3, dueAt: 0, lapses: 1, history: null }]);
  expect(read.dispatches).toContainEqual({ token: "t", phase: "working" });
  expect(await versionOf(batch)).toBe(LATER + 2);
});
