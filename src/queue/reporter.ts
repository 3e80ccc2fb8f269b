/**
 * A consumer's half of the conversation (src/domain/conversation.ts): keeps what became of lines until it is reported. An
 * exchange stores a chunk in R2, then reports it. What fails is done again: a report that arrived although its answer was
 * lost may be sent twice, the coordinator knows chunks by their key.
 */
import type { AnswerClass } from "../domain/answer-class.ts";
import { doublingPause } from "../domain/backoff.ts";
import { type AnswersHeard, countTrouble, hear, NOTHING_HEARD, unhear } from "../domain/breaker.ts";
import type { ChunkLine } from "../domain/chunk.ts";
import {
  type GivenBackLine,
  HEARTBEAT_MS,
  PATIENCE_MS,
  type Report,
  type ReportReply,
} from "../domain/conversation.ts";
import { fillReportReply } from "../domain/other-version.ts";
import type { Outcome } from "../domain/outcome.ts";
import type { ClaimedSlice } from "../domain/slices.ts";
import { isScarce } from "../domain/rate-limit.ts";
import { NOTHING_SPENT, spendAnswer, type Spending, spendTry, unspend } from "../domain/spending.ts";
import { logFailure } from "../log.ts";
import { chunkKey } from "../stores/object-keys.ts";
import { FinishedLines, type MadeChunk } from "./finished-lines.ts";
import type { ReadyLine } from "./slice-lines.ts";

export interface ReporterOptions {
  readonly batchId: string;
  readonly token: string;
  /** The chunk is stored once this has resolved. */
  readonly store: (key: string, bytes: Uint8Array) => Promise<void>;
  readonly report: (report: Report) => Promise<ReportReply>;
}

export interface Exchange {
  readonly wantedLines: number;
  /** With `leaving` all that is finished is stored and reported. */
  readonly phase: Report["phase"];
  readonly inFlight: number;
  /** Lines that the consumer has and that are not in flight. */
  readonly waiting: number;
  /** Tries that it would begin at once if the upstream's budgets let it. */
  readonly wantedStarts: number;
  /** How many lines could be in flight for it. */
  readonly canUse: number;
}

/** While the upstream pushes back, the in-flight limit has to hear of it sooner than by the heartbeat. */
const PRESSURE_REPORT_MS = 1_000;
/** So often slots are reported free while other batches wait for them. */
export const RELEASE_REPORT_MS = 1_000;
const MIN_REST_MS = 200;
const MAX_REST_MS = 10_000;
const NO_BYTES = new Uint8Array();

/** What the next report says beside the chunk. */
interface Unreported {
  givenBack: GivenBackLine[];
  answers: number;
  pressured: number;
  heard: AnswersHeard;
  inputMissing: boolean;
  spent: Spending;
}

/** One try of a line, and what came of it. */
export interface Answered {
  readonly outcome: Outcome;
  /** The line fails by itself: what it is answered says nothing of the upstream, but for the pressure. */
  readonly isSuspect: boolean;
  readonly sentAt: Date;
  readonly answeredAt: Date;
}

export type GivenLine = Pick<ReadyLine, "line" | "sliceIndex" | "attempts" | "history">;

export class Reporter {
  readonly #options: ReporterOptions;
  /** Results that are in no chunk yet. */
  readonly #finished = new FinishedLines();
  /** Made, and not reported yet: it is put again, or reported again, until both have worked. Stored, it has no bytes. */
  #chunk: { made: MadeChunk; state: "made" | "refused" | "stored" } | null = null;
  readonly #unreported: Unreported = {
    givenBack: [],
    answers: 0,
    pressured: 0,
    heard: NOTHING_HEARD,
    inputMissing: false,
    spent: NOTHING_SPENT,
  };
  /** Puts, reads and reports that failed in a row. */
  #failures = 0;
  /** Reports that were sent, repeated ones too. */
  #exchanges = 0;
  /** In ms: no exchange is made before it. */
  #restUntil = 0;
  /** In ms: when a report was last sent, and when one was last answered. */
  #lastExchangeAt = Date.now();
  #lastSuccessAt = Date.now();

  constructor(options: ReporterOptions) {
    this.#options = options;
  }

  get restUntil(): number {
    return this.#restUntil;
  }

  get isFailing(): boolean {
    return this.#failures > 0;
  }

  get hasGivenUp(): boolean {
    return Date.now() > this.#lastSuccessAt + PATIENCE_MS;
  }

  /** R2 has refused the chunk, and has not taken it since. */
  get isRefused(): boolean {
    return this.#chunk?.state === "refused";
  }

  /** More than one chunk is to be stored or reported: one exchange is not enough. */
  get hasBacklog(): boolean {
    return this.#chunk === null ? this.isFull : !this.#finished.isEmpty;
  }

  /** Of results that are finished, or being stored. */
  get bytes(): number {
    return this.#finished.bytes + (this.#chunk?.made.bytes.length ?? 0);
  }

  /** Answers that were not fine wait to be reported. */
  get hasTrouble(): boolean {
    return countTrouble(this.#unreported.heard) > 0;
  }

  /** In ms: when the coordinator may hear of that. */
  get maySayScarceAt(): number {
    return this.#lastExchangeAt + MIN_REST_MS;
  }

  /** The coordinator is to hear soon that the upstream takes little more. */
  hasScarcity(slots: number): boolean {
    const { rateLimit, answersWithUsage, tokens } = this.#unreported.spent;
    return rateLimit !== null && isScarce(rateLimit, slots, tokens / Math.max(1, answersWithUsage));
  }

  get isFull(): boolean {
    return this.#finished.isFull;
  }

  /** In ms: when slots that others wait for may be reported free. */
  get mayReleaseAt(): number {
    return this.#lastExchangeAt + RELEASE_REPORT_MS;
  }

  /** In ms: by the heartbeat, or because results are not held any longer. */
  get nextReportAt(): number {
    const heartbeatAt = this.#lastExchangeAt + (this.hasTrouble ? PRESSURE_REPORT_MS : HEARTBEAT_MS);
    return Math.min(heartbeatAt, this.#finished.dueAt?.getTime() ?? heartbeatAt);
  }

  /** These lines will be settled or given back. */
  expect(slices: readonly ClaimedSlice[]): void {
    this.#finished.expect(slices);
  }

  settle(line: ReadyLine, outcome: Outcome, now: Date): ChunkLine["result"] {
    return this.#finished.add(line, outcome, now);
  }

  /** @param line with the number of its tries so far. @param dueAt null: at once. */
  giveBack({ line, sliceIndex, attempts, history = null }: GivenLine, dueAt: Date | null): void {
    this.#unreported.givenBack.push({ line, attempts, dueAt, history });
    this.#finished.releaseLine({ sliceIndex });
  }

  /** A line is sent upstream. */
  noteTry(): void {
    this.#unreported.spent = spendTry(this.#unreported.spent);
  }

  noteAnswer(answerClass: AnswerClass, answered: Answered): void {
    const { outcome, isSuspect } = answered;
    this.#unreported.answers += 1;
    this.#unreported.spent = spendAnswer(this.#unreported.spent, answered);
    if (answerClass === "busy" || answerClass === "away") this.#unreported.pressured += 1;
    if (answerClass === "fine" || !isSuspect) {
      this.#unreported.heard = hear(this.#unreported.heard, answerClass, outcome);
    }
  }

  noteInputMissing(): void {
    this.#unreported.inputMissing = true;
  }

  noteFailure(event: string, error: unknown): void {
    const { batchId, token } = this.#options;
    this.#restUntil = Date.now() + doublingPause(MIN_REST_MS, MAX_REST_MS, this.#failures);
    this.#failures += 1;
    logFailure(event, { batch: batchId, dispatch: token, failures: this.#failures }, error);
  }

  /**
   * Stores, then reports. While nothing can be stored it still reports, which keeps the lease and hears that the batch
   * was cancelled, but wants nothing and does not leave: `isFailing` says that it has to be made again.
   * @returns null when there is no answer.
   */
  async exchange({ wantedLines, phase, ...held }: Exchange): Promise<ReportReply | null> {
    const isStored = await this.#storeChunk(phase);
    const chunk = isStored ? (this.#chunk?.made ?? null) : null;
    // A copy: lines that are given back while this report is under way belong to the next one.
    const sent = { ...this.#unreported, givenBack: [...this.#unreported.givenBack] };
    const unsent = chunk === null ? (this.#chunk?.made.slices ?? []) : [];
    this.#exchanges += 1;
    this.#lastExchangeAt = Date.now();
    let reply: ReportReply;
    try {
      const wanted = isStored ? wantedLines : 0;
      const answer = await this.#options.report({
        ...sent,
        token: this.#options.token,
        chunk: chunk === null ? null : { key: chunk.key, lines: chunk.lines },
        usage: chunk?.usage ?? null,
        wantedLines: wanted,
        ...held,
        phase: isStored || phase !== "leaving" ? phase : "winding_down",
        holds: { exchange: this.#exchanges, slices: [...this.#finished.openSlices, ...unsent] },
      });
      reply = fillReportReply(answer, wanted);
    } catch (error) {
      this.noteFailure("report_failed", error);
      return null;
    }
    this.#unreported.givenBack.splice(0, sent.givenBack.length);
    this.#unreported.answers -= sent.answers;
    this.#unreported.pressured -= sent.pressured;
    this.#unreported.heard = unhear(this.#unreported.heard, sent.heard);
    this.#unreported.spent = unspend(this.#unreported.spent, sent.spent);
    if (!isStored) return reply;
    this.#chunk = null;
    this.#failures = 0;
    this.#restUntil = 0;
    this.#lastSuccessAt = Date.now();
    return reply;
  }

  /** @returns false when there is a chunk and R2 does not take it. */
  async #storeChunk(phase: Report["phase"]): Promise<boolean> {
    const { batchId, store } = this.#options;
    if (this.#chunk === null) {
      const scope = phase === "leaving" ? "everything" : this.#finished.scopeAt(new Date());
      const made = this.#finished.makeChunk(scope, chunkKey(batchId, crypto.randomUUID()));
      this.#chunk = made === null ? null : { made, state: "made" };
    }
    if (this.#chunk === null || this.#chunk.state === "stored") return true;
    try {
      await store(this.#chunk.made.key, this.#chunk.made.bytes);
      this.#chunk = { made: { ...this.#chunk.made, bytes: NO_BYTES }, state: "stored" };
      return true;
    } catch (error) {
      this.#chunk.state = "refused";
      this.noteFailure("chunk_not_stored", error);
      return false;
    }
  }
}
