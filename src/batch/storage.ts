/**
 * Everything that a coordinator stores, one method a statement or value: four tables (storage-schema.sql) and five values
 * that belong to no row. Synchronous, as the storage is: what belongs together is one transaction of the caller.
 */
import type { BatchStatus } from "../domain/batch.ts";
import type { StoredChunk } from "../domain/chunk.ts";
import type { StoredDispatch } from "../domain/dispatches.ts";
import type { SliceState } from "../domain/line-state.ts";
import type { BatchState, FinalizeTries } from "./state.ts";
import schema from "./storage-schema.sql";
import { FIRST_STORAGE_VERSION, NEWEST_STORAGE_VERSION, STORAGE_STEPS, type StorageStep } from "./storage-steps.ts";
import {
  type BatchStateRow,
  type ChunkRow,
  fromBatchStateRow,
  fromChunkRow,
  fromSliceRow,
  type SliceRow,
  toBatchStateValues,
  toLineBlob,
  toSliceValues,
} from "./storage-rows.ts";

/** Steps of the coordinator that failed in a row: an object leaves memory after ten seconds of rest, and would count anew. */
const FAILURES_KEY = "failures";
/** Counted before the files are begun: an alarm that the platform cuts off says nothing. */
const FINALIZE_TRIES_KEY = "attempts";
/** What the object told D1 last. */
const PUBLISHED_KEY = "published";
/** Of the tables. The first one was not stored. */
const VERSION_KEY = "version";
/** Older versions wrote none. */
const ALLOWED_LINES_KEY = "allowed_lines";
/** Counted before the input is read: what kills the object while it validates would do so again and again. */
const VALIDATION_TRIES_KEY = "validations";

/** What D1 was told, as it is stored: once with what followed from its answer. */
interface Published {
  readonly status: BatchStatus | null;
}

interface DispatchRow extends Record<string, SqlStorageValue> {
  readonly token: string;
  readonly phase: string;
}

export class BatchStorage {
  readonly #storage: DurableObjectStorage;
  /** A transaction has failed: what is in memory may be ahead of the tables, and must not be written. */
  #isStale = false;

  constructor(storage: DurableObjectStorage) {
    this.#storage = storage;
  }

  get isStale(): boolean {
    return this.#isStale;
  }

  /** One that fails is rolled back here, but not in the memory of whoever made it: the store is stale then. */
  transaction<Value>(work: () => Value): Value {
    try {
      return this.#storage.transactionSync(work);
    } catch (error) {
      this.#isStale = true;
      throw error;
    }
  }

  get #sql(): SqlStorage {
    if (this.#isStale) throw new Error("a change was cut off: the tables are to be read anew");
    return this.#storage.sql;
  }

  /** False for an object that never had a batch, or whose storage is wiped. Asking writes nothing. */
  exists(): boolean {
    return this.#sql.exec("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'batch'").toArray().length > 0;
  }

  createTables(): void {
    this.#sql.exec(schema);
    this.#storage.kv.put(VERSION_KEY, NEWEST_STORAGE_VERSION);
  }

  /** Brings the tables of an older version up; those of a newer one are used as they are. */
  upgradeTables(steps: readonly StorageStep[] = STORAGE_STEPS): void {
    const version = this.#storage.kv.get<number>(VERSION_KEY) ?? FIRST_STORAGE_VERSION;
    const missing = steps.filter((step) => step.version > version);
    const last = missing.at(-1);
    if (last === undefined) return;
    this.transaction(() => {
      for (const { statements } of missing) for (const statement of statements) this.#sql.exec(statement);
      this.#storage.kv.put(VERSION_KEY, last.version);
    });
  }

  writeBatch(state: BatchState): void {
    this.#sql.exec(
      "INSERT OR REPLACE INTO batch (id, record, sealed_key, ending, ends_by, final) VALUES (1, ?, ?, ?, ?, ?)",
      ...toBatchStateValues(state),
    );
  }

  readBatch(): BatchState | null {
    const [row] = this.#sql
      .exec<BatchStateRow>("SELECT record, sealed_key, ending, ends_by, final FROM batch WHERE id = 1")
      .toArray();
    return row === undefined ? null : fromBatchStateRow(row);
  }

  writeSlices(slices: readonly SliceState[]): void {
    for (const slice of slices) {
      this.#sql.exec(
        `INSERT OR REPLACE INTO slices (idx, first_line, line_count, byte_start, byte_length, progress, token)
         VALUES (?, ?, ?, ?, ?, ?, ?)`,
        ...toSliceValues(slice),
      );
    }
  }

  readSlices(): readonly SliceState[] {
    return this.#sql
      .exec<SliceRow>(
        "SELECT idx, first_line, line_count, byte_start, byte_length, progress, token FROM slices ORDER BY idx",
      )
      .toArray()
      .map(fromSliceRow);
  }

  insertChunk(chunk: StoredChunk): void {
    this.#sql.exec(
      "INSERT INTO chunks (key, lines, usage) VALUES (?, ?, ?)",
      chunk.key,
      toLineBlob(chunk.lines),
      chunk.usage === null ? null : JSON.stringify(chunk.usage),
    );
  }

  deleteChunk(key: string): void {
    this.#sql.exec("DELETE FROM chunks WHERE key = ?", key);
  }

  hasChunk(key: string): boolean {
    return this.#sql.exec("SELECT 1 FROM chunks WHERE key = ?", key).toArray().length > 0;
  }

  *readChunks(): Iterable<StoredChunk> {
    for (const row of this.#sql.exec<ChunkRow>("SELECT key, lines, usage FROM chunks")) yield fromChunkRow(row);
  }

  writeDispatch(dispatch: StoredDispatch): void {
    this.#sql.exec("INSERT OR REPLACE INTO dispatches (token, phase) VALUES (?, ?)", dispatch.token, dispatch.phase);
  }

  deleteDispatch(token: string): void {
    this.#sql.exec("DELETE FROM dispatches WHERE token = ?", token);
  }

  readDispatches(): readonly StoredDispatch[] {
    const rows = this.#sql.exec<DispatchRow>("SELECT token, phase FROM dispatches").toArray();
    // Whatever a newer version calls it: somebody has claimed it.
    return rows.map(({ token, phase }) => ({ token, phase: phase === "sent" ? "sent" : "working" }));
  }

  readFailures(): number {
    return this.#storage.kv.get<number>(FAILURES_KEY) ?? 0;
  }

  writeFailures(inARow: number): void {
    this.#storage.kv.put(FAILURES_KEY, inARow);
  }

  /** Lines that may be in flight by what the pacer said; null: nothing was said. */
  readAllowedLines(): number | null {
    return this.#storage.kv.get<number>(ALLOWED_LINES_KEY) ?? null;
  }

  writeAllowedLines(lines: number): void {
    this.#storage.kv.put(ALLOWED_LINES_KEY, lines);
  }

  readFinalizeTries(): FinalizeTries | null {
    return this.#storage.kv.get<FinalizeTries>(FINALIZE_TRIES_KEY) ?? null;
  }

  writeFinalizeTries(tries: FinalizeTries): void {
    this.#storage.kv.put(FINALIZE_TRIES_KEY, tries);
  }

  readValidationTries(): number {
    return this.#storage.kv.get<number>(VALIDATION_TRIES_KEY) ?? 0;
  }

  writeValidationTries(tries: number): void {
    this.#storage.kv.put(VALIDATION_TRIES_KEY, tries);
  }

  /** Null before D1 has anything. */
  readShownStatus(): BatchStatus | null {
    return this.#storage.kv.get<Published>(PUBLISHED_KEY)?.status ?? null;
  }

  writeShownStatus(status: BatchStatus): void {
    const published: Published = { status };
    this.#storage.kv.put(PUBLISHED_KEY, published);
  }
}
