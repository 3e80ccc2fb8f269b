/**
 * Files: their rows in D1 and their bytes in R2. Every query binds the tenant, or an id that only the
 * service itself can have from a row of that tenant. A deleted or expired file is as good as unknown.
 */
import type { ByteRange, FilePurpose, FileRecord } from "../domain/file.ts";
import { fileKey } from "./object-keys.ts";

/** As D1 holds it; times in milliseconds. */
export interface FileRow {
  readonly id: string;
  readonly tenant: string;
  readonly purpose: string;
  readonly filename: string;
  readonly bytes: number;
  readonly created_at: number;
  readonly expires_at: number | null;
}

/** A file as its tenant may see it at `now`. */
export interface WantedFile {
  readonly tenant: string;
  readonly id: string;
  readonly now: Date;
}

export interface FileQuery {
  readonly tenant: string;
  /** Null: of any purpose. */
  readonly purpose: string | null;
  readonly order: "asc" | "desc";
  readonly limit: number;
  /** Starts behind this file. */
  readonly after: FileRecord | null;
  readonly now: Date;
}

const COLUMNS = "id, tenant, purpose, filename, bytes, created_at, expires_at";

export async function insertFile(db: D1Database, file: FileRecord): Promise<void> {
  await db
    .prepare(`INSERT INTO files (${COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)`)
    .bind(...toFileValues(file))
    .run();
}

export async function findFile(db: D1Database, wanted: WantedFile): Promise<FileRecord | null> {
  const row = await db
    .prepare(
      `SELECT ${COLUMNS} FROM files
       WHERE id = ?1 AND tenant = ?2 AND deleted_at IS NULL AND (expires_at IS NULL OR expires_at > ?3)`,
    )
    .bind(wanted.id, wanted.tenant, wanted.now.getTime())
    .first<FileRow>();
  return row === null ? null : fromFileRow(row);
}

/**
 * The input file of a batch: one that the client could see when the batch was created, even if it was
 * deleted or has expired since. The live batch holds its bytes.
 */
export async function findInputFile(
  db: D1Database,
  batch: { readonly tenant: string; readonly inputFileId: string; readonly createdAt: Date },
): Promise<FileRecord | null> {
  const row = await db
    .prepare(
      `SELECT ${COLUMNS} FROM files
       WHERE id = ?1 AND tenant = ?2 AND (deleted_at IS NULL OR deleted_at >= ?3) AND (expires_at IS NULL OR expires_at > ?3)`,
    )
    .bind(batch.inputFileId, batch.tenant, batch.createdAt.getTime())
    .first<FileRow>();
  return row === null ? null : fromFileRow(row);
}

/** By creation time, the id breaking ties. */
export async function listFiles(db: D1Database, query: FileQuery): Promise<FileRecord[]> {
  const [comparison, direction] = query.order === "asc" ? [">", "ASC"] : ["<", "DESC"];
  const conditions = ["tenant = ?1", "deleted_at IS NULL", "(expires_at IS NULL OR expires_at > ?2)"];
  const values: (string | number)[] = [query.tenant, query.now.getTime(), query.limit];
  if (query.purpose !== null) conditions.push(`purpose = ?${values.push(query.purpose)}`);
  if (query.after !== null) {
    const createdAt = values.push(query.after.createdAt.getTime());
    const id = values.push(query.after.id);
    conditions.push(`(created_at, id) ${comparison} (?${createdAt}, ?${id})`);
  }
  const { results } = await db
    .prepare(
      `SELECT ${COLUMNS} FROM files WHERE ${conditions.join(" AND ")}
       ORDER BY created_at ${direction}, id ${direction} LIMIT ?3`,
    )
    .bind(...values)
    .all<FileRow>();
  return results.map(fromFileRow);
}

/**
 * Hides a file from its tenant, at once and for good. Its bytes stay until `removeFile`, which is up to
 * the caller, or, when a live batch reads them, to that batch's coordinator.
 * @returns false when there is no such file.
 */
export async function hideFile(db: D1Database, wanted: WantedFile): Promise<boolean> {
  const hidden = await db
    .prepare(
      `UPDATE files SET deleted_at = ?3
       WHERE id = ?1 AND tenant = ?2 AND deleted_at IS NULL AND (expires_at IS NULL OR expires_at > ?3)`,
    )
    .bind(wanted.id, wanted.tenant, wanted.now.getTime())
    .run();
  return hidden.meta.changes === 1;
}

/** True when the client has deleted the file, and only batches still kept its bytes. */
export async function isFileHidden(db: D1Database, id: string): Promise<boolean> {
  const row = await db.prepare("SELECT 1 FROM files WHERE id = ?1 AND deleted_at IS NOT NULL").bind(id).first();
  return row !== null;
}

/**
 * The bytes of a file, or those of them that are asked for; null when they are gone.
 * @throws what R2 throws.
 */
export async function openFile(
  bucket: R2Bucket,
  id: string,
  range: ByteRange | null = null,
): Promise<ReadableStream<Uint8Array> | null> {
  const object = await bucket.get(fileKey(id), range === null ? {} : { range });
  return object === null ? null : (object.body as ReadableStream<Uint8Array>);
}

/** The bytes alone. */
export async function deleteFileBytes(bucket: R2Bucket, ids: readonly string[]): Promise<void> {
  await bucket.delete(ids.map(fileKey));
}

/** Removes bytes, then row: a crash between them leaves a row that can be removed again, never lost bytes. */
export async function removeFile(db: D1Database, bucket: R2Bucket, id: string): Promise<void> {
  await deleteFileBytes(bucket, [id]);
  await deleteFileRow(db, id);
}

export async function deleteFileRow(db: D1Database, id: string): Promise<void> {
  await db.prepare("DELETE FROM files WHERE id = ?1").bind(id).run();
}

/** In the order of the columns. */
export function toFileValues(file: FileRecord): (string | number | null)[] {
  return [
    file.id,
    file.tenant,
    file.purpose,
    file.filename,
    file.bytes,
    file.createdAt.getTime(),
    file.expiresAt?.getTime() ?? null,
  ];
}

function fromFileRow(row: FileRow): FileRecord {
  return {
    id: row.id,
    tenant: row.tenant,
    purpose: row.purpose as FilePurpose,
    filename: row.filename,
    bytes: row.bytes,
    createdAt: new Date(row.created_at),
    expiresAt: row.expires_at === null ? null : new Date(row.expires_at),
  };
}
