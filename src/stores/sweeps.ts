/**
 * What the sweep asks D1 and R2: which files may go, which objects there are and who owns them, which batches still
 * live, and where the last run stopped. Every question is bounded by a limit.
 */
import type { BatchRecord } from "../domain/batch.ts";
import { BATCH_COLUMNS, LIVE_BATCH } from "./batches.ts";
import { type BatchRow, fromBatchRow } from "./batch-row.ts";
import { batchOfResult } from "./object-keys.ts";

/** D1 binds at most 100 parameters (developers.cloudflare.com/d1/platform/limits). */
export const MAX_IDS_PER_QUERY = 100;

const NOT_HELD = `NOT EXISTS (
  SELECT 1 FROM batches WHERE input_file_id = files.id AND batches.tenant = files.tenant AND ${LIVE_BATCH})`;

/** Each half walks an index of its own and stops at the limit; no row is in both. */
export const REMOVABLE_FILES = `SELECT id FROM files WHERE expires_at <= ?1 AND ${NOT_HELD}
  UNION ALL
  SELECT id FROM files WHERE deleted_at IS NOT NULL AND (expires_at IS NULL OR expires_at > ?1) AND ${NOT_HELD}
  LIMIT ?2`;

export const LIVE_BATCHES = `SELECT ${BATCH_COLUMNS} FROM batches WHERE ${LIVE_BATCH} AND id > ?1 ORDER BY id LIMIT ?2`;

/** Ids of files that have expired or were deleted, and that no live batch reads. */
export async function listRemovableFiles(db: D1Database, now: Date, limit: number): Promise<string[]> {
  const { results } = await db.prepare(REMOVABLE_FILES).bind(now.getTime(), limit).all<{ id: string }>();
  return results.map(({ id }) => id);
}

/** Hides them first: a crash in the middle leaves a file that nobody sees and the next run removes. */
export async function hideFiles(db: D1Database, ids: readonly string[], now: Date): Promise<void> {
  await db
    .prepare(`UPDATE files SET deleted_at = ?1 WHERE deleted_at IS NULL AND id IN (${placeholders(ids, 2)})`)
    .bind(now.getTime(), ...ids)
    .run();
}

export async function deleteFileRows(db: D1Database, ids: readonly string[]): Promise<void> {
  await db
    .prepare(`DELETE FROM files WHERE id IN (${placeholders(ids, 1)})`)
    .bind(...ids)
    .run();
}

/** A page of R2's objects. */
export interface ObjectPage {
  readonly objects: readonly { readonly key: string; readonly uploadedAt: Date }[];
  /** Where the next page begins; empty: there is none. */
  readonly next: string;
}

/** @param after where the page begins, as the one before says; empty: at the first object. */
export async function listObjects(
  bucket: R2Bucket,
  { prefix, after, limit }: { readonly prefix: string; readonly after: string; readonly limit: number },
): Promise<ObjectPage> {
  const page = await bucket.list({ prefix, limit, ...(after === "" ? {} : { startAfter: after }) });
  const objects = page.objects.map(({ key, uploaded }) => ({ key, uploadedAt: uploaded }));
  return { objects, next: page.truncated ? (objects.at(-1)?.key ?? after) : "" };
}

export async function deleteObjects(bucket: R2Bucket, keys: readonly string[]): Promise<void> {
  if (keys.length > 0) await bucket.delete([...keys]);
}

/** The batch that wrote a result file; null for a file that a client uploaded. */
export async function findBatchOfResult(bucket: R2Bucket, key: string): Promise<string | null> {
  return batchOfResult(await bucket.head(key));
}

/** Which of these files have a row, whatever its state. */
export async function findKnownFiles(db: D1Database, ids: readonly string[]): Promise<ReadonlySet<string>> {
  const { results } = await db
    .prepare(`SELECT id FROM files WHERE id IN (${placeholders(ids, 1)})`)
    .bind(...ids)
    .all<{ id: string }>();
  return new Set(results.map(({ id }) => id));
}

/** Which of these batches are live. */
export async function findLiveBatches(db: D1Database, ids: readonly string[]): Promise<ReadonlySet<string>> {
  if (ids.length === 0) return new Set();
  const { results } = await db
    .prepare(`SELECT id FROM batches WHERE ${LIVE_BATCH} AND id IN (${placeholders(ids, 1)})`)
    .bind(...ids)
    .all<{ id: string }>();
  return new Set(results.map(({ id }) => id));
}

/** Live batches of all tenants behind `after`, by id, which is by creation time. */
export async function listLiveBatches(db: D1Database, after: string, limit: number): Promise<BatchRecord[]> {
  const { results } = await db.prepare(LIVE_BATCHES).bind(after, limit).all<BatchRow>();
  return results.map(fromBatchRow);
}

/** Where the last run of this part of the sweep stopped; empty: at the end. */
export async function readCursor(db: D1Database, name: string): Promise<string> {
  return (
    (await db.prepare("SELECT position FROM sweep_cursors WHERE name = ?1").bind(name).first<string>("position")) ?? ""
  );
}

export async function writeCursor(db: D1Database, name: string, position: string): Promise<void> {
  await db
    .prepare(
      "INSERT INTO sweep_cursors (name, position) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET position = ?2",
    )
    .bind(name, position)
    .run();
}

function placeholders(ids: readonly string[], first: number): string {
  return ids.map((_, index) => `?${first + index}`).join(", ");
}
