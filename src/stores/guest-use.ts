/** What a guest uses: the bytes of its files, its live batches. Asked for guests alone, before they store more. */
import type { FileRecord } from "../domain/file.ts";
import { LIVE_BATCH } from "./batches.ts";
import { toFileValues } from "./files.ts";

/** Ours: a smaller file counts as this, so that a guest with a limit of bytes has a limit of rows too. */
export const MIN_COUNTED_BYTES = 64 * 1024;

/** Files that are deleted or expired count until their bytes are gone. */
const STORED_BYTES = `(SELECT IFNULL(SUM(MAX(bytes, ${MIN_COUNTED_BYTES})), 0) FROM files WHERE tenant = ?1)`;

export async function sumStoredBytes(db: D1Database, tenant: string): Promise<number> {
  const bytes = await db.prepare(`SELECT ${STORED_BYTES} AS bytes`).bind(tenant).first<number>("bytes");
  return bytes ?? 0;
}

/**
 * Inserts a file unless its tenant then had more than `mostBytes`: of uploads that run at the same time each
 * counts what the others have stored.
 * @returns false when it was not inserted.
 */
export async function insertFileWithin(db: D1Database, file: FileRecord, mostBytes: number): Promise<boolean> {
  const [id, tenant, ...values] = toFileValues(file);
  const inserted = await db
    .prepare(
      `INSERT INTO files (tenant, id, purpose, filename, bytes, created_at, expires_at)
       SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7 WHERE ${STORED_BYTES} + MAX(?5, ${MIN_COUNTED_BYTES}) <= ?8`,
    )
    .bind(tenant, id, ...values, mostBytes)
    .run();
  return inserted.meta.changes === 1;
}

export interface LiveBatchQuery {
  readonly tenant: string;
  /** The one that the tenant, being a guest, has all its batches on. */
  readonly upstream: string;
  /** Counts no further than this. */
  readonly most: number;
}

/** Looks among the live batches of the upstream, which are few, not among all that the tenant ever had: hence the +. */
export async function countLiveBatches(db: D1Database, { tenant, upstream, most }: LiveBatchQuery): Promise<number> {
  const { results } = await db
    .prepare(`SELECT 1 FROM batches WHERE upstream = ?1 AND +tenant = ?2 AND ${LIVE_BATCH} LIMIT ?3`)
    .bind(upstream, tenant, most)
    .all();
  return results.length;
}
