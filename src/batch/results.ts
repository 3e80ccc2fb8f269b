/**
 * The stored results of a live batch: its table of chunks, the sums over them, and what the ledger learns of their lines.
 * Every change belongs into a transaction of the caller's.
 */
import type { RequestCounts, Usage } from "../domain/batch.ts";
import type { StoredChunk, StoredLine, StoredResult } from "../domain/chunk.ts";
import type { Report } from "../domain/conversation.ts";
import type { Ledger } from "../domain/ledger.ts";
import { Tally } from "../domain/tally.ts";
import type { BatchStorage } from "./storage.ts";

export class Results {
  readonly #storage: BatchStorage;
  #tally: Tally;

  constructor(storage: BatchStorage) {
    this.#storage = storage;
    this.#tally = new Tally(storage.readChunks());
  }

  get usage(): Usage | null {
    return this.#tally.usage;
  }

  counts(total: number): RequestCounts {
    return this.#tally.counts(total);
  }

  /** The chunk of a report. A chunk that is known already changes nothing: the report has come twice. */
  settle({ token, chunk, usage }: Report, ledger: Ledger): void {
    if (chunk === null || this.#storage.hasChunk(chunk.key)) return;
    const accepted = ledger.settle(token, chunk.lines);
    if (!accepted.includes(true)) return;
    const lines = chunk.lines.map(({ line, bytes, result }, index): StoredLine => {
      const stored: StoredResult = accepted[index] === true ? result : "void";
      return { line, bytes, result: stored };
    });
    this.#add({ key: chunk.key, lines, usage });
  }

  /** Lines that get an error line in place of a result. */
  settleMissing(chunk: StoredChunk, ledger: Ledger): void {
    ledger.settleMissing(chunk.lines.map(({ line }) => line));
    this.#add(chunk);
  }

  /** Their bytes are gone: their lines are to be settled again. */
  lose(chunks: readonly StoredChunk[], ledger: Ledger): void {
    for (const { key, lines } of chunks) {
      this.#storage.deleteChunk(key);
      ledger.reopen(lines.filter(({ result }) => result !== "void").map(({ line }) => line));
    }
    this.#tally = new Tally(this.#storage.readChunks());
  }

  #add(chunk: StoredChunk): void {
    this.#storage.insertChunk(chunk);
    this.#tally.add(chunk);
  }
}
