/**
 * Batches in D1: the listable copy that a coordinator writes and clients read. It owns no truth while a
 * batch lives, but what is final here stays as it is.
 */
import { BATCH_STATUSES, type BatchRecord, isFinal } from "../domain/batch.ts";
import type { FileRecord } from "../domain/file.ts";
import { type BatchRow, fromBatchRow, toBatchValues, toJson } from "./batch-row.ts";
import { toFileValues } from "./files.ts";

export const BATCH_COLUMNS = `id, tenant, status, endpoint, input_file_id, completion_window, upstream, model, metadata, errors, usage,
  output_file_id, error_file_id, output_expires_after_seconds, total, completed, failed, created_at, expires_at,
  in_progress_at, finalizing_at, completed_at, failed_at, expired_at, cancelling_at, cancelled_at`;

/** Spelled as in schema.sql, so that the partial indexes serve. */
export const LIVE_BATCH = "status IN ('validating', 'in_progress', 'finalizing', 'cancelling')";

/** Writes the copy of a batch. Repeating it changes nothing; a final status stays, with all that goes with it. */
export async function saveBatch(db: D1Database, batch: BatchRecord): Promise<void> {
  await prepareSave(db, batch).run();
}

/**
 * Writes how far a batch has come, as long as its copy has the same status. A quarter of the rows of
 * `saveBatch`, which touches the indexes on the status too.
 */
export async function saveProgress(db: D1Database, { id, status, counts, usage }: BatchRecord): Promise<void> {
  await db
    .prepare(
      `UPDATE batches SET completed = ?3, failed = ?4, usage = ?5
       WHERE id = ?1 AND status = ?2 AND (completed <> ?3 OR failed <> ?4)`,
    )
    .bind(id, status, counts.completed, counts.failed, toJson(usage))
    .run();
}

/**
 * Writes the copy of a batch and the rows of its output and error files in one transaction. Once the batch
 * is final, a repeated call changes nothing: files that the client deleted meanwhile stay deleted.
 */
export async function saveFinalBatch(db: D1Database, batch: BatchRecord, files: readonly FileRecord[]): Promise<void> {
  await db.batch([...files.map((file) => prepareSaveFile(db, file, batch.id)), prepareSave(db, batch)]);
}

export async function findBatch(db: D1Database, tenant: string, id: string): Promise<BatchRecord | null> {
  const row = await db
    .prepare(`SELECT ${BATCH_COLUMNS} FROM batches WHERE id = ?1 AND tenant = ?2`)
    .bind(id, tenant)
    .first<BatchRow>();
  return row === null ? null : fromBatchRow(row);
}

/** Whether a live batch of the file's own tenant reads it: any at all, or any but `exceptBatchId`. */
export async function isInputHeld(
  db: D1Database,
  fileId: string,
  exceptBatchId: string | null = null,
): Promise<boolean> {
  const row = await db
    .prepare(
      `SELECT 1 FROM batches
       WHERE input_file_id = ?1 AND id IS NOT ?2 AND ${LIVE_BATCH}
         AND tenant = (SELECT files.tenant FROM files WHERE files.id = ?1)
       LIMIT 1`,
    )
    .bind(fileId, exceptBatchId)
    .first();
  return row !== null;
}

const FINAL = `status IN (${BATCH_STATUSES.filter(isFinal)
  .map((status) => `'${status}'`)
  .join(", ")})`;

function prepareSave(db: D1Database, batch: BatchRecord): D1PreparedStatement {
  return db
    .prepare(
      `INSERT INTO batches (${BATCH_COLUMNS})
       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26)
       ON CONFLICT (id) DO UPDATE SET
         status = excluded.status, model = excluded.model, errors = excluded.errors, usage = excluded.usage,
         output_file_id = excluded.output_file_id, error_file_id = excluded.error_file_id,
         total = excluded.total, completed = excluded.completed, failed = excluded.failed,
         in_progress_at = excluded.in_progress_at, finalizing_at = excluded.finalizing_at,
         completed_at = excluded.completed_at, failed_at = excluded.failed_at, expired_at = excluded.expired_at,
         cancelling_at = excluded.cancelling_at, cancelled_at = excluded.cancelled_at
       WHERE batches.tenant = excluded.tenant AND NOT batches.${FINAL}`,
    )
    .bind(...toBatchValues(batch));
}

function prepareSaveFile(db: D1Database, file: FileRecord, batchId: string): D1PreparedStatement {
  return db
    .prepare(
      `INSERT INTO files (id, tenant, purpose, filename, bytes, created_at, expires_at)
       SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7
       WHERE NOT EXISTS (SELECT 1 FROM batches WHERE id = ?8 AND ${FINAL})
       ON CONFLICT (id) DO UPDATE SET
         bytes = excluded.bytes, created_at = excluded.created_at, expires_at = excluded.expires_at
       WHERE files.tenant = excluded.tenant`,
    )
    .bind(...toFileValues(file), batchId);
}
