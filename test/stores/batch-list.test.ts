/** Pages that are cut by the bytes of their errors. How pages follow one another: batches.test.ts. */
import { env } from "cloudflare:workers";
import { describe, expect, test, vi } from "vitest";
import { type BatchRecord, NO_TIMES } from "../../src/domain/batch.ts";
import { listBatches, MAX_INLINE_ERROR_BYTES, MAX_PAGE_ERROR_BYTES } from "../../src/stores/batch-list.ts";
import { saveBatch } from "../../src/stores/batches.ts";
import { openDatabase } from "../../src/stores/schema.ts";

const now = new Date("2026-11-22T03:00:00Z");

function makeBatch(changes: Pick<BatchRecord, "tenant" | "errors" | "createdAt">): BatchRecord {
  return {
    id: `batch_${crypto.randomUUID()}`,
    status: "failed",
    endpoint: "/v1/embeddings",
    inputFileId: "file-1",
    completionWindow: "24h",
    upstream: "echo",
    model: null,
    metadata: null,
    usage: null,
    outputFileId: null,
    errorFileId: null,
    outputExpiresAfterSeconds: null,
    counts: { total: 0, completed: 0, failed: 0 },
    expiresAt: now,
    times: NO_TIMES,
    ...changes,
  };
}

describe("batches that failed validation", () => {
  /** Errors whose JSON has this many bytes. */
  function makeErrors(bytes: number) {
    const empty = JSON.stringify([{ code: "c", message: "", param: null, line: 1 }]).length;
    return [{ code: "c", message: "m".repeat(bytes - empty), param: null, line: 1 }];
  }

  const [page, inline, large] = [MAX_PAGE_ERROR_BYTES, MAX_INLINE_ERROR_BYTES, 1_500_000];

  test.each([
    ["as long as a page may have", [large, large, page - 2 * large], 3, 2],
    ["a byte longer", [large, large, page - 2 * large + 1], 2, 2],
    ["just short enough to come with the row", [inline, inline], 2, 1],
    ["a byte too long for that", [inline, inline + 1], 2, 2],
  ])("with errors %s come page by page, none left out", async (_, sizes, onFirstPage, queries) => {
    const db = await openDatabase(env.DB);
    const tenant = `org-${crypto.randomUUID()}`;
    const batches = sizes.map((bytes, index) =>
      makeBatch({ tenant, errors: makeErrors(bytes), createdAt: new Date(now.getTime() - index) }),
    );
    for (const batch of batches) await saveBatch(db, batch);
    const asked = vi.spyOn(db, "prepare");
    const first = await listBatches(db, { tenant, limit: 100, after: null });
    expect(asked).toHaveBeenCalledTimes(queries);
    asked.mockRestore();
    expect(first).toEqual({ batches: batches.slice(0, onFirstPage), hasMore: onFirstPage < batches.length });
    const rest = await listBatches(db, { tenant, limit: 100, after: first.batches.at(-1) ?? null });
    expect([...first.batches, ...rest.batches]).toEqual(batches);
  });
});
