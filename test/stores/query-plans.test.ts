/** Holds every statement of src/stores to an index: what D1 reads is billed by row, and must not grow with the tables. */
import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, test } from "vitest";
import type { FileRecord } from "../../src/domain/file.ts";
import * as lists from "../../src/stores/batch-list.ts";
import * as batches from "../../src/stores/batches.ts";
import * as files from "../../src/stores/files.ts";
import * as guestUse from "../../src/stores/guest-use.ts";
import { openDatabase } from "../../src/stores/schema.ts";
import * as sweeps from "../../src/stores/sweeps.ts";
import { aBatch } from "../support/batch-record.ts";

const now = new Date("2026-11-22T03:00:00Z");
const tenant = "org-plans";

beforeAll(async () => {
  await openDatabase(env.DB);
});

const batch = aBatch({ id: "batch_plans", tenant, status: "completed", inputFileId: "file-plans", createdAt: now });

const file: FileRecord = {
  id: "file-plans",
  tenant,
  purpose: "batch",
  filename: "plans.jsonl",
  bytes: 1,
  createdAt: now,
  expiresAt: null,
};

const wanted = { tenant, id: file.id, now };
const page = { tenant, limit: 20 };

type Call = (db: D1Database) => Promise<unknown>;

/** Every function that asks D1, with each form that its statement takes. */
const CALLS: Readonly<Record<string, readonly Call[]>> = {
  saveBatch: [(db) => batches.saveBatch(db, batch)],
  saveProgress: [(db) => batches.saveProgress(db, batch)],
  saveFinalBatch: [(db) => batches.saveFinalBatch(db, batch, [file])],
  findBatch: [(db) => batches.findBatch(db, tenant, batch.id)],
  listBatches: [null, batch].map(
    (after): Call =>
      (db) =>
        lists.listBatches(db, { ...page, after }),
  ),
  isInputHeld: [(db) => batches.isInputHeld(db, file.id)],
  insertFile: [(db) => files.insertFile(db, { ...file, id: `file-${crypto.randomUUID()}` })],
  findFile: [(db) => files.findFile(db, wanted)],
  findInputFile: [(db) => files.findInputFile(db, batch)],
  listFiles: [null, file].flatMap((after) =>
    [null, file.purpose].flatMap((purpose) =>
      (["asc", "desc"] as const).map(
        (order): Call =>
          (db) =>
            files.listFiles(db, { ...page, after, purpose, order, now }),
      ),
    ),
  ),
  hideFile: [(db) => files.hideFile(db, wanted)],
  isFileHidden: [(db) => files.isFileHidden(db, file.id)],
  removeFile: [(db) => files.removeFile(db, env.BUCKET, file.id)],
  deleteFileRow: [(db) => files.deleteFileRow(db, file.id)],
  sumStoredBytes: [(db) => guestUse.sumStoredBytes(db, tenant)],
  insertFileWithin: [(db) => guestUse.insertFileWithin(db, { ...file, id: `file-${crypto.randomUUID()}` }, 1)],
  countLiveBatches: [(db) => guestUse.countLiveBatches(db, { tenant, upstream: "echo", most: 20 })],
  listRemovableFiles: [(db) => sweeps.listRemovableFiles(db, now, 10)],
  hideFiles: [(db) => sweeps.hideFiles(db, ["file-a", "file-b"], now)],
  deleteFileRows: [(db) => sweeps.deleteFileRows(db, ["file-a", "file-b"])],
  findKnownFiles: [(db) => sweeps.findKnownFiles(db, ["file-a", "file-b"])],
  findLiveBatches: [(db) => sweeps.findLiveBatches(db, ["batch_a", "batch_b"])],
  listLiveBatches: [(db) => sweeps.listLiveBatches(db, "batch_", 10)],
  readCursor: [(db) => sweeps.readCursor(db, "files")],
  writeCursor: [(db) => sweeps.writeCursor(db, "files", "")],
};

describe("a statement's plan", () => {
  test("is asked for every function that is given the database", () => {
    const exported = Object.entries({ ...batches, ...lists, ...files, ...guestUse, ...sweeps });
    const asking = exported.filter(
      ([, value]) => typeof value === "function" && /^(async )?function \w+\(db/.test(String(value)),
    );

    expect(Object.keys(CALLS).toSorted()).toEqual(asking.map(([name]) => name).toSorted());
  });

  test.each(Object.entries(CALLS))("%s seeks, and neither scans nor sorts", async (_name, calls) => {
    const steps = (await Promise.all(calls.map(explain))).flat();

    expect(steps.filter((step) => /SCAN (?!CONSTANT ROW)|TEMP B-TREE/.test(step))).toEqual([]);
  });

  test.each([
    ["batches", (db: D1Database) => lists.listBatches(db, { ...page, after: batch })],
    ["files", (db: D1Database) => files.listFiles(db, { ...page, after: file, purpose: null, order: "desc", now })],
  ])("finds the place behind the last page of %s in the index", async (_name, call) => {
    await expect(explain(call)).resolves.toEqual([
      expect.stringMatching(/^SEARCH \w+ USING INDEX \w+_by_tenant \(tenant=\? AND \(created_at,id\)<\(\?,\?\)\)$/),
    ]);
  });
});

/** The steps of the plans of all statements that `call` runs; a plain insert has none. */
async function explain(call: Call): Promise<readonly string[]> {
  const statements: { readonly sql: string; values: readonly unknown[] }[] = [];
  const recorder = {
    prepare: (sql: string) => {
      const statement = env.DB.prepare(sql);
      const recorded = { sql, values: [] as readonly unknown[] };
      statements.push(recorded);
      const bind = (...values: unknown[]) => {
        recorded.values = values;
        return statement.bind(...values);
      };
      return { bind };
    },
    batch: (prepared: D1PreparedStatement[]) => env.DB.batch(prepared),
  };
  await call(recorder as unknown as D1Database);
  expect(statements).not.toEqual([]);
  const plans = statements.map(({ sql, values }) => env.DB.prepare(`EXPLAIN QUERY PLAN ${sql}`).bind(...values));
  const results = await env.DB.batch<{ readonly detail: string }>(plans);
  return results.flatMap((result) => result.results.map(({ detail }) => detail));
}
