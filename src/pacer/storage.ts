/** Everything that a pacer stores: who its batches are, and what it has learnt of its upstream. Synchronous. */
import type { PacingMemory } from "../domain/pacing.ts";
import schema from "./schema.sql";

/** What is learnt of the upstream. */
const MEMORY_KEY = "memory";
/** Of the table. */
const VERSION_KEY = "version";
/** A change of schema.sql makes it one more, and brings its step: docs/decisions/versions.md. */
const VERSION = 1;

export class PacerStorage {
  readonly #storage: DurableObjectStorage;

  constructor(storage: DurableObjectStorage) {
    this.#storage = storage;
  }

  createTable(): void {
    if (this.#storage.kv.get<number>(VERSION_KEY) !== undefined) return;
    this.#storage.sql.exec(schema);
    this.#storage.kv.put(VERSION_KEY, VERSION);
  }

  readBatchIds(): readonly string[] {
    return this.#storage.sql
      .exec<{ id: string }>("SELECT id FROM batches")
      .toArray()
      .map(({ id }) => id);
  }

  insertBatch(id: string): void {
    this.#storage.sql.exec("INSERT OR IGNORE INTO batches (id) VALUES (?)", id);
  }

  deleteBatch(id: string): void {
    this.#storage.sql.exec("DELETE FROM batches WHERE id = ?", id);
  }

  readMemory(): PacingMemory | null {
    return this.#storage.kv.get<PacingMemory>(MEMORY_KEY) ?? null;
  }

  writeMemory(memory: PacingMemory): void {
    this.#storage.kv.put(MEMORY_KEY, memory);
  }
}
