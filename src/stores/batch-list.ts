/**
 * Lists batches page by page. A page is cut not only by the number of its batches but also by the bytes of
 * their `errors`: a hundred batches that failed validation can have 78 MiB of them, and D1 returns at most 50 MB
 * for one query (developers.cloudflare.com/d1/platform/limits). An ordinary page takes one query.
 */
import type { BatchRecord } from "../domain/batch.ts";
import { BATCH_COLUMNS } from "./batches.ts";
import { type BatchRow, fromBatchRow } from "./batch-row.ts";

export interface BatchQuery {
  readonly tenant: string;
  /** At most this many batches, 100 at most. */
  readonly limit: number;
  /** Starts behind this batch. */
  readonly after: BatchRecord | null;
}

export interface BatchPage {
  readonly batches: readonly BatchRecord[];
  readonly hasMore: boolean;
}

/** Ours: the most bytes of `errors` in a page, unless a single batch has more. */
export const MAX_PAGE_ERROR_BYTES = 4 * 1024 * 1024;
/** Ours: errors of this length or less come with their row. Those of a whole page fit in MAX_PAGE_ERROR_BYTES. */
export const MAX_INLINE_ERROR_BYTES = 32 * 1024;

interface ListedRow extends BatchRow {
  readonly error_bytes: number;
}

/** Newest first, the id breaking ties. */
export async function listBatches(db: D1Database, query: BatchQuery): Promise<BatchPage> {
  const found = await findRows(db, query);
  const rows = cutPage(found, query.limit);
  const longErrors = await readErrors(
    db,
    rows.filter((row) => row.error_bytes > MAX_INLINE_ERROR_BYTES).map(({ id }) => id),
  );
  return {
    batches: rows.map((row) => fromBatchRow({ ...row, errors: longErrors.get(row.id) ?? row.errors })),
    hasMore: rows.length < found.length,
  };
}

/** One row more than the page may have, which tells that there is a further page. */
async function findRows(db: D1Database, { tenant, limit, after }: BatchQuery): Promise<readonly ListedRow[]> {
  // Two statements, because SQLite seeks to a row only where the comparison stands by itself.
  const behind = after === null ? "" : "AND (created_at, id) < (?4, ?5)";
  const position = after === null ? [] : [after.createdAt.getTime(), after.id];
  const { results } = await db
    .prepare(
      `SELECT ${SHORT_COLUMNS}, IFNULL(octet_length(errors), 0) AS error_bytes FROM batches
       WHERE tenant = ?1 ${behind} ORDER BY created_at DESC, id DESC LIMIT ?2`,
    )
    .bind(tenant, limit + 1, MAX_INLINE_ERROR_BYTES, ...position)
    .all<ListedRow>();
  return results;
}

const SHORT_COLUMNS = BATCH_COLUMNS.replace("errors", "CASE WHEN octet_length(errors) <= ?3 THEN errors END AS errors");

/** The first row always belongs to the page. */
function cutPage(found: readonly ListedRow[], limit: number): readonly ListedRow[] {
  let bytes = 0;
  const end = found.slice(0, limit).findIndex((row, index) => {
    bytes += row.error_bytes;
    return index > 0 && bytes > MAX_PAGE_ERROR_BYTES;
  });
  return found.slice(0, end === -1 ? limit : end);
}

/** @param ids of batches that the tenant may see, 100 at most: as many as D1 binds. */
async function readErrors(db: D1Database, ids: readonly string[]): Promise<ReadonlyMap<string, string>> {
  if (ids.length === 0) return new Map();
  const { results } = await db
    .prepare(`SELECT id, errors FROM batches WHERE id IN (${ids.map((_, index) => `?${index + 1}`).join(", ")})`)
    .bind(...ids)
    .all<{ id: string; errors: string }>();
  return new Map(results.map(({ id, errors }) => [id, errors]));
}
