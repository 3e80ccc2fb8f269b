/**
 * A dispatch's talk with its coordinator: a chunk is stored in R2, then reported, and what fails is done again.
 * A report that arrived although its answer was lost may be sent twice: the coordinator knows chunks by key.
 */
import type { GivenBackLine, ReportReply, Report } from "../domain/dispatch.ts";
import { logFailure } from "../log.ts";
import { putChunk } from "../stores/chunks.ts";
import { chunkKey } from "../stores/object-keys.ts";
import { FinishedLines, type MadeChunk, type Scope } from "./finished-lines.ts";

export interface ReporterOptions {
  readonly batchId: string;
  readonly token: string;
  readonly bucket: R2Bucket;
  readonly report: (report: Report) => Promise<ReportReply>;
}

export interface Exchange {
  readonly scope: Scope;
  readonly wantedLines: number;
  readonly phase: Report["phase"];
}

/** After this time without a successful exchange the lease ended long ago, and others have the lines. */
const PATIENCE_MS = 300_000;
const MAX_REST_MS = 10_000;

export class Reporter {
  readonly finished = new FinishedLines();
  readonly #options: ReporterOptions;
  #chunk: MadeChunk | null = null;
  #isChunkStored = false;
  #givenBack: GivenBackLine[] = [];
  #answers = 0;
  #pressured = 0;
  #inputMissing = false;
  #failures = 0;
  #restUntil = 0;
  #lastExchangeAt = Date.now();
  #lastSuccessAt = Date.now();

  constructor(options: ReporterOptions) {
    this.#options = options;
  }

  get lastExchangeAt(): number {
    return this.#lastExchangeAt;
  }

  /** No exchange is made before it. */
  get restUntil(): number {
    return this.#restUntil;
  }

  get isFailing(): boolean {
    return this.#failures > 0;
  }

  get hasGivenUp(): boolean {
    return Date.now() > this.#lastSuccessAt + PATIENCE_MS;
  }

  /** A chunk waits to be stored or reported, and more is finished behind it: one exchange is not enough. */
  get hasBacklog(): boolean {
    return this.#chunk !== null && !this.finished.isEmpty;
  }

  get hasPressure(): boolean {
    return this.#pressured > 0;
  }

  giveBack(line: GivenBackLine): void {
    this.#givenBack.push(line);
  }

  noteAnswer(outcome: "fine" | "pressure"): void {
    this.#answers += 1;
    if (outcome === "pressure") this.#pressured += 1;
  }

  noteInputMissing(): void {
    this.#inputMissing = true;
  }

  noteFailure(event: string, error: unknown): void {
    const { batchId, token } = this.#options;
    this.#failures += 1;
    this.#restUntil = Date.now() + Math.min(MAX_REST_MS, 100 * 2 ** this.#failures);
    logFailure(event, { batch: batchId, dispatch: token, failures: this.#failures }, error);
  }

  /**
   * Stores, then reports. While nothing can be stored it still reports, which keeps the lease, but wants
   * nothing and does not leave.
   * @returns null when it has to be made again.
   */
  async exchange({ scope, wantedLines, phase }: Exchange): Promise<ReportReply | null> {
    const isStored = await this.#storeChunk(scope);
    const chunk = isStored ? this.#chunk : null;
    // A copy: lines that are given back while this report is under way belong to the next one.
    const givenBack = [...this.#givenBack];
    const [answers, pressured] = [this.#answers, this.#pressured];
    this.#lastExchangeAt = Date.now();
    let orders: ReportReply;
    try {
      orders = await this.#options.report({
        token: this.#options.token,
        chunk: chunk === null ? null : { key: chunk.key, lines: chunk.lines },
        usage: chunk?.usage ?? null,
        givenBack,
        answers,
        pressured,
        wantedLines: isStored ? wantedLines : 0,
        phase: isStored || phase !== "leaving" ? phase : "winding_down",
        inputMissing: this.#inputMissing,
      });
    } catch (error) {
      this.noteFailure("report_failed", error);
      return null;
    }
    this.#givenBack = this.#givenBack.slice(givenBack.length);
    this.#answers -= answers;
    this.#pressured -= pressured;
    if (!isStored) return orders.kind === "unknown" ? orders : null;
    this.#chunk = null;
    this.#isChunkStored = false;
    this.#failures = 0;
    this.#restUntil = 0;
    this.#lastSuccessAt = Date.now();
    return orders;
  }

  /** @returns false when there is a chunk and R2 does not take it. */
  async #storeChunk(scope: Scope): Promise<boolean> {
    const { batchId, bucket } = this.#options;
    if (this.#chunk === null) {
      this.#chunk = this.finished.makeChunk(scope, chunkKey(batchId, crypto.randomUUID()));
      this.#isChunkStored = this.#chunk === null;
    }
    if (this.#chunk === null || this.#isChunkStored) return true;
    try {
      await putChunk(bucket, this.#chunk.key, this.#chunk.bytes);
      this.#isChunkStored = true;
      return true;
    } catch (error) {
      this.noteFailure("chunk_not_stored", error);
      return false;
    }
  }
}
