/** The coordinator's tables, one method a statement. Synchronous, as the storage is: what belongs together is one transaction of the caller. */
import type { Usage } from "../domain/batch.ts";
import type { SliceState } from "../domain/ledger.ts";
import schema from "./ledger-schema.sql";
import {
  type BatchState,
  type BatchStateRow,
  type ChunkRow,
  fromBatchStateRow,
  fromChunkRow,
  fromSliceRow,
  type SliceRow,
  type StoredChunk,
  toBatchStateValues,
  toLineBlob,
  toSliceValues,
} from "./ledger-rows.ts";

export interface DispatchRow extends Record<string, SqlStorageValue> {
  readonly token: string;
  readonly phase: "sent" | "working";
}

export class LedgerStore {
  readonly #storage: DurableObjectStorage;
  #isStale = false;

  constructor(storage: DurableObjectStorage) {
    this.#storage = storage;
  }

  /** A transaction has failed. */
  get isStale(): boolean {
    return this.#isStale;
  }

  /** One that fails closes the store: it is rolled back here, but not in the memory of whoever made it. */
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
    const usage: Usage | null = chunk.usage;
    this.#sql.exec(
      "INSERT INTO chunks (key, lines, usage) VALUES (?, ?, ?)",
      chunk.key,
      toLineBlob(chunk.lines),
      usage === null ? null : JSON.stringify(usage),
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

  writeDispatch(dispatch: DispatchRow): void {
    this.#sql.exec("INSERT OR REPLACE INTO dispatches (token, phase) VALUES (?, ?)", dispatch.token, dispatch.phase);
  }

  deleteDispatch(token: string): void {
    this.#sql.exec("DELETE FROM dispatches WHERE token = ?", token);
  }

  readDispatches(): readonly DispatchRow[] {
    return this.#sql.exec<DispatchRow>("SELECT token, phase FROM dispatches").toArray();
  }
}
