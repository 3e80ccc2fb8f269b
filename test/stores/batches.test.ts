import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, test, vi } from "vitest";
import { BATCH_STATUSES, type BatchRecord, type BatchStatus, isFinal } from "../../src/domain/batch.ts";
import type { FileRecord } from "../../src/domain/file.ts";
import { saveFinalBatch, findBatch, isInputHeld, saveBatch, saveProgress } from "../../src/stores/batches.ts";
import { type BatchPage, listBatches } from "../../src/stores/batch-list.ts";
import { findFile, hideFile, insertFile, removeFile } from "../../src/stores/files.ts";
import { chunkKey, chunkPrefix } from "../../src/stores/object-keys.ts";
import { probeBucket, probeDatabase } from "../../src/stores/probe.ts";
import { openDatabase } from "../../src/stores/schema.ts";
import { openSealedKey, sealKey } from "../../src/stores/sealed-key.ts";
import { aBatch } from "../support/batch-record.ts";

const now = new Date("2026-11-22T03:00:00Z");
const db = env.DB;

beforeAll(async () => {
  await openDatabase(db);
});

function makeOutput(changes: Partial<FileRecord> = {}): FileRecord {
  return {
    id: `file-${crypto.randomUUID()}`,
    tenant: "org-a",
    purpose: "batch_output",
    filename: "batch_1_output.jsonl",
    bytes: 10,
    createdAt: now,
    expiresAt: null,
    ...changes,
  };
}

describe("batches", () => {
  test("are found as they were saved, by their own tenant only", async () => {
    const batch = aBatch({
      status: "completed",
      model: "m",
      metadata: { "a.b": "ü", __proto__x: "" },
      errors: [{ code: "c", message: "m", param: null, line: 7 }],
      usage: { inputTokens: 1, cachedTokens: 2, outputTokens: 3, reasoningTokens: 4, totalTokens: 5 },
      outputFileId: "file-o",
      errorFileId: "file-e",
      outputExpiresAfterSeconds: 3600,
      counts: { total: 3, completed: 2, failed: 1 },
      times: {
        inProgressAt: new Date(1),
        finalizingAt: new Date(2),
        completedAt: new Date(3),
        failedAt: new Date(4),
        expiredAt: new Date(5),
        cancellingAt: new Date(6),
        cancelledAt: new Date(7),
      },
    });
    await saveBatch(db, batch);
    expect(await findBatch(db, "org-a", batch.id)).toEqual(batch);
    expect(await findBatch(db, "org-b", batch.id)).toBeNull();
  });

  test.each(BATCH_STATUSES)("that are %s are overwritten unless that is final", async (status) => {
    const saved = aBatch({ status, counts: { total: 5, completed: 1, failed: 0 } });
    await saveBatch(db, saved);
    const next = { ...saved, status: "in_progress", counts: { total: 5, completed: 2, failed: 1 } } as const;
    await saveBatch(db, next);
    expect(await findBatch(db, "org-a", saved.id)).toEqual(isFinal(status) ? saved : next);
  });

  test("never change their tenant", async () => {
    const batch = aBatch();
    await saveBatch(db, batch);
    await saveBatch(db, { ...batch, tenant: "org-b", status: "failed" });
    expect(await findBatch(db, "org-a", batch.id)).toEqual(batch);
    expect(await findBatch(db, "org-b", batch.id)).toBeNull();
  });

  test("become final together with their files, and only once", async () => {
    const output = makeOutput();
    const batch = aBatch({ status: "finalizing" });
    const completed = aBatch({ ...batch, status: "completed", outputFileId: output.id });
    await saveBatch(db, batch);
    await saveFinalBatch(db, completed, [output]);
    expect(await findBatch(db, "org-a", batch.id)).toEqual(completed);
    expect(await findFile(db, { ...output, now })).toEqual(output);
    await removeFile(db, env.BUCKET, output.id);
    await saveFinalBatch(db, { ...completed, outputFileId: "file-other" }, [output]);
    expect(await findBatch(db, "org-a", batch.id)).toEqual(completed);
    expect(await findFile(db, { ...output, now })).toBeNull();
  });

  test("are finalized anew when the first try did not get that far", async () => {
    const early = makeOutput({ bytes: 1 });
    const final = { ...early, bytes: 2 };
    const batch = aBatch({ status: "finalizing" });
    await saveFinalBatch(db, batch, [early]);
    await saveFinalBatch(db, { ...batch, status: "completed" }, [final]);
    expect(await findFile(db, { ...early, now })).toEqual(final);
  });

  test("are listed newest first, page by page, ties broken by the id", async () => {
    const tenant = "org-listing";
    const batches = [3, 2, 2, 2, 1].map((second, index) =>
      aBatch({ tenant, id: `batch_${9 - index}`, createdAt: new Date(now.getTime() + second * 1000) }),
    );
    for (const batch of batches.toReversed()) await saveBatch(db, batch);
    const seen: BatchRecord[] = [];
    for (let after: BatchRecord | null = null; ;) {
      const page: BatchPage = await listBatches(db, { tenant, limit: 2, after });
      seen.push(...page.batches);
      after = page.batches.at(-1) ?? null;
      expect(page.hasMore).toBe(seen.length < batches.length);
      if (!page.hasMore) break;
    }
    expect(seen).toEqual(batches);
    const nothing = { batches: [], hasMore: false };
    expect(await listBatches(db, { tenant: "org-nobody", limit: 2, after: null })).toEqual(nothing);
  });

  test.each(BATCH_STATUSES)("that are %s hold their input while they live", async (status) => {
    const input = makeOutput({ purpose: "batch" });
    const batch = aBatch({ status, inputFileId: input.id });
    await insertFile(db, input);
    await saveBatch(db, batch);
    expect(await isInputHeld(db, input.id)).toBe(!isFinal(status));
    expect(await isInputHeld(db, input.id, batch.id)).toBe(false);
    await saveBatch(db, aBatch({ inputFileId: input.id }));
    expect(await isInputHeld(db, input.id, batch.id)).toBe(true);
  });

  test("hold no file of another tenant", async () => {
    const input = makeOutput({ purpose: "batch", tenant: "org-owner" });
    await insertFile(db, input);
    await saveBatch(db, aBatch({ tenant: "org-stranger", inputFileId: input.id }));
    expect(await isInputHeld(db, input.id)).toBe(false);
    await hideFile(db, { ...input, now });
    await saveBatch(db, aBatch({ tenant: "org-owner", inputFileId: input.id }));
    expect(await isInputHeld(db, input.id)).toBe(true);
  });
});

describe("progress", () => {
  const usage = { inputTokens: 5, cachedTokens: 1, outputTokens: 3, reasoningTokens: 0, totalTokens: 8 };
  const counts = { total: 9, completed: 4, failed: 2 };

  test("is written into the copy, and nothing else is", async () => {
    const batch = aBatch({ status: "in_progress", counts: { total: 9, completed: 0, failed: 0 } });
    await saveBatch(db, batch);
    await saveProgress(db, { ...batch, counts, usage, model: "another-model" });
    expect(await findBatch(db, batch.tenant, batch.id)).toEqual({ ...batch, counts, usage });
  });

  test("is not written into a copy of another status", async () => {
    const batch = aBatch({ status: "completed", counts: { total: 9, completed: 9, failed: 0 } });
    await saveBatch(db, batch);
    await saveProgress(db, { ...batch, status: "in_progress", counts, usage });
    expect(await findBatch(db, batch.tenant, batch.id)).toEqual(batch);
  });
});

describe("the schema", () => {
  test("is looked at once for a database, and may be looked at again", async () => {
    const { database, prepare } = spyOn(makeDatabase());
    const opened = await Promise.all([1, 2, 3].map(() => openDatabase(database)));
    expect(opened).toEqual([database, database, database]);
    const calls = prepare.mock.calls.length;
    expect(calls).toBeGreaterThan(0);
    await openDatabase(database);
    expect(prepare).toHaveBeenCalledTimes(calls);
  });

  test("is tried again after a failure", async () => {
    const { database, prepare } = spyOn(makeDatabase());
    const fail = () => {
      throw new Error("D1 is away");
    };
    prepare.mockImplementationOnce(fail).mockImplementationOnce(fail);
    await expect(openDatabase(database)).rejects.toThrow("D1 is away");
    await expect(openDatabase(database)).resolves.toBe(database);
  });

  test("does not wait for a request that was cut off while it looked", async () => {
    const { database, prepare } = spyOn(makeDatabase());
    const never = { first: () => new Promise(() => {}) };
    prepare.mockReturnValueOnce(never as unknown as D1PreparedStatement);
    void openDatabase(database);
    await expect(openDatabase(database)).resolves.toBe(database);
  });

  test("lets its partial indexes serve the questions about live batches", async () => {
    const statuses: BatchStatus[] = ["validating", "in_progress", "finalizing", "cancelling"];
    const list = statuses.map((status) => `'${status}'`).join(", ");
    const plan = await db
      .prepare(`EXPLAIN QUERY PLAN SELECT 1 FROM batches WHERE input_file_id = 'x' AND status IN (${list})`)
      .all<{ detail: string }>();
    expect(plan.results.map((step) => step.detail).join()).toContain("batches_live_by_file");
  });
});

describe("a sealed key", () => {
  const secret = "a-secret-of-more-than-thirty-two-characters";

  test("opens for its own batch", async () => {
    const sealed = await sealKey(secret, "batch_1", "sk-provider-ü");
    expect(sealed).not.toContain("sk-provider");
    expect(await openSealedKey(secret, "batch_1", sealed)).toBe("sk-provider-ü");
  });

  test("never looks the same twice", async () => {
    expect(await sealKey(secret, "batch_1", "sk")).not.toBe(await sealKey(secret, "batch_1", "sk"));
  });

  test.each([
    ["for another batch", secret, "batch_2"],
    ["under another secret", `${secret}!`, "batch_1"],
  ])("does not open %s", async (_, key, batchId) => {
    const sealed = await sealKey(secret, "batch_1", "sk");
    await expect(openSealedKey(key, batchId, sealed)).rejects.toThrow(/Decryption failed/);
  });

  test("does not open when it was changed", async () => {
    const bytes = Uint8Array.fromBase64(await sealKey(secret, "batch_1", "sk"));
    bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
    await expect(openSealedKey(secret, "batch_1", bytes.toBase64())).rejects.toThrow(/Decryption failed/);
  });
});

describe("object keys", () => {
  test("put all chunks of a batch under its prefix", () => {
    expect(chunkKey("batch_1", "abc").startsWith(chunkPrefix("batch_1"))).toBe(true);
    expect(chunkKey("batch_12", "abc").startsWith(chunkPrefix("batch_1"))).toBe(false);
  });
});

describe("the probes", () => {
  test("reach both stores", async () => {
    await expect(Promise.all([probeDatabase(db), probeBucket(env.BUCKET)])).resolves.toBeDefined();
  });
});

/** The real database under an identity of its own. */
function makeDatabase(): D1Database {
  const database = Object.create(db) as D1Database;
  database.prepare = db.prepare.bind(db);
  database.batch = db.batch.bind(db);
  return database;
}

function spyOn(database: D1Database) {
  return { database, prepare: vi.spyOn(database, "prepare") };
}
