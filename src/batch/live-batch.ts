/**
 * A batch while it lives: its record and stage, its ledger, its dispatches and what its upstream takes, in memory and
 * written through to the object's tables. Synchronous; no queue, R2, D1 or alarm here (src/batch/coordinator.ts).
 */
import { type BatchRecord, move } from "../domain/batch.ts";
import type { Pause } from "../domain/breaker.ts";
import type { StoredChunk } from "../domain/chunk.ts";
import type { ClaimReply, NextClaim, Report, ReportReply } from "../domain/conversation.ts";
import { Dispatches } from "../domain/dispatches.ts";
import { type ConsumerLimits, Dispatching, type UpstreamRoom } from "../domain/dispatching.ts";
import { earliest } from "../domain/earliest.ts";
import type { BatchLoad } from "../domain/grant.ts";
import { Ledger } from "../domain/ledger.ts";
import type { Slice } from "../domain/slices.ts";
import { pacerName } from "../domain/pacer-name.ts";
import { AllowedLines } from "./allowed-lines.ts";
import { Results } from "./results.ts";
import { type BatchState, contextOf, isOver, type EarlyEnding, type FinalState, type Stage } from "./state.ts";
import type { BatchStorage } from "./storage.ts";

/** platform.openai.com/docs/guides/batch: a batch is `cancelling` for up to 10 minutes. */
const MAX_DRAIN_MS = 600_000;

export class LiveBatch {
  /** Of the pacer that says what the batch may have of its upstream. */
  readonly pacerName: string;
  /** Its lines are sent with a key of its tenant. */
  readonly isGuest: boolean;
  readonly #storage: BatchStorage;
  /** As it is stored. */
  #state: BatchState;
  /** Which lines are settled, and who has the others. */
  #ledger: Ledger;
  /** Who works on them, or is asked to. */
  readonly #dispatches: Dispatches;
  /** Who gets what to do. */
  #dispatching: Dispatching;
  /** What may be in flight, over restarts too. */
  readonly #allowed: AllowedLines;
  /** What is stored of them, and the sums over it. */
  readonly #results: Results;

  /** @param stored as read from `storage`, whose other tables are read here. */
  constructor(storage: BatchStorage, stored: BatchState, consumers: ConsumerLimits) {
    this.#storage = storage;
    this.#state = stored;
    this.isGuest = stored.sealedKey !== null;
    this.pacerName = pacerName(stored.record.upstream, this.isGuest ? stored.record.tenant : null);
    this.#ledger = new Ledger(storage.readSlices());
    this.#dispatches = new Dispatches(storage.readDispatches(), consumers.linesPerInvocation, new Date());
    this.#allowed = new AllowedLines(storage);
    this.#results = new Results(storage);
    const nothing = { lines: 0, pause: null, servedAt: null, isRoomWanted: false, mayHaveBegun: null };
    this.#dispatching = this.#beginDispatching({ ...consumers, ...nothing });
  }

  /** As a client sees it now. */
  get record(): BatchRecord {
    const { record, stage } = this.#state;
    if (stage.kind === "published") return stage.final.record;
    return { ...record, counts: this.#results.counts(record.counts.total), usage: this.#results.usage };
  }

  get stage(): Stage {
    return this.#state.stage;
  }

  get isRunning(): boolean {
    return this.#state.record.status === "in_progress" && this.stage.kind === "open";
  }

  /** Their leases are in memory alone. */
  get dispatches(): Pick<Dispatches, "size" | "tokens" | "hadAtOnce" | "findOverdue" | "awaitQueue"> {
    return this.#dispatches;
  }

  setRoom(room: UpstreamRoom): void {
    this.#dispatching.setRoom(room);
    if (this.isRunning || this.stage.kind === "draining") this.#allowed.note(room.lines, this.#dispatching.heldLines);
  }

  loadAt(now: Date): BatchLoad {
    return {
      unsettledLines: this.#ledger.unsettledLines,
      runnableLines: this.isRunning ? this.#dispatching.runnableLines(now) : 0,
      heldLines: this.#allowed.limit(this.#dispatching.heldLines),
      isOver: isOver(this.#state),
    };
  }

  startsAt(now: Date): Readonly<Record<"begun" | "wantedStarts" | "meanLineBytes", number>> {
    const wantedStarts = this.isRunning ? this.#dispatching.wantedStarts(now) : 0;
    return { begun: this.#dispatching.begun, wantedStarts, meanLineBytes: this.#ledger.meanLineBytes };
  }

  /** Why nothing is sent to the upstream now; null when it is not paused. */
  get pause(): Pause | null {
    return this.isRunning ? this.#dispatching.room.pause : null;
  }

  get ledger(): Pick<Ledger, "lostSlices" | "unsettledSlices"> {
    return this.#ledger;
  }

  chunks(): Iterable<StoredChunk> {
    return this.#storage.readChunks();
  }

  acceptInput(slices: readonly Slice[], model: string | null, now: Date): void {
    this.#storage.transaction(() => {
      const states = slices.map((slice) => ({ slice, progress: "fresh" as const, token: null }));
      this.#storage.writeSlices(states);
      this.#ledger = new Ledger(states);
      this.#dispatching = this.#beginDispatching(this.#dispatching.room);
      const counts = { total: this.#ledger.totalLines, completed: 0, failed: 0 };
      const record = { ...this.#state.record, model, counts };
      this.#write({ record: move(record, "in_progress", now) });
    });
  }

  claim(token: string, now: Date): ClaimReply {
    if (!this.#dispatches.claim(token, now)) return { kind: "unknown" };
    return this.#storage.transaction(() => {
      const reply = this.#mayStart(now) ? this.#dispatching.begin(token, now) : null;
      if (reply === null) {
        this.#drop(token);
        return { kind: "stop" };
      }
      this.#storage.writeDispatch({ token, phase: "working" });
      this.#writeSlices();
      return { ...reply, batch: contextOf(this.#state) };
    });
  }

  /** For a consumer that works for other dispatches and has this many slots to spare. */
  claimNext(slots: number, makeToken: () => string, now: Date): NextClaim {
    if (!this.#mayStart(now)) return null;
    return this.#storage.transaction(() => {
      const begun = this.#dispatching.beginNext(slots, makeToken, now);
      if (begun === null) return null;
      this.#storage.writeDispatch({ token: begun.token, phase: "working" });
      this.#writeSlices();
      return { ...begun.reply, token: begun.token, batch: contextOf(this.#state) };
    });
  }

  /** Settles and takes back what the report says, in one transaction, before it answers. */
  report(report: Report, now: Date): ReportReply {
    const { token, phase } = report;
    const dispatch = this.#dispatches.find(token);
    if (dispatch === null || dispatch.phase === "sent") return { kind: "unknown" };
    return this.#storage.transaction(() => {
      this.#dispatches.renew(token, now);
      if (report.canUse !== undefined) this.#dispatches.limitSlots(token, report.canUse);
      this.#results.settle(report, this.#ledger);
      this.#ledger.giveBack(token, report.givenBack);
      this.#dispatching.takeBackUnknown(report);
      this.#dispatching.observe(report, now);
      if (report.inputMissing && this.isRunning) this.endEarly("failed", now);
      if (phase === "leaving") this.#drop(token);
      else if (phase === "winding_down") this.#dispatches.windDown(token);
      const mayGoOn = phase !== "leaving" && this.#mayStart(now);
      const reply: ReportReply = mayGoOn ? this.#dispatching.handOut(token, report.wantedLines, now) : { kind: "stop" };
      this.#writeSlices();
      this.finalizeWhenSettled(now);
      return reply;
    });
  }

  /**
   * Decides how many dispatches to send now, and writes them down before they are sent: one that is never
   * delivered is found by its lease.
   */
  planDispatches(makeToken: () => string, now: Date): readonly string[] {
    if (!this.isRunning) return [];
    const tokens = Array.from({ length: this.#dispatching.wantedDispatches(now) }, makeToken);
    for (const token of tokens) {
      this.#storage.writeDispatch({ token, phase: "sent" });
      this.#dispatches.send(token, now);
    }
    return tokens;
  }

  /** Lines could run, and nobody is there or on the way to run them. */
  needsDispatch(now: Date): boolean {
    return this.isRunning && this.#dispatching.wantedDispatches(now) > 0;
  }

  /** They were not sent, or the queue gave up on them. */
  forgetDispatches(tokens: readonly string[]): void {
    for (const token of tokens) if (this.#dispatches.find(token)?.phase === "sent") this.#drop(token);
  }

  /** Takes back what dispatches hold whose lease has lapsed. @returns how many there were. */
  takeBackLapsed(now: Date): number {
    const lapsed = this.#dispatches.findLapsed(now);
    this.#storage.transaction(() => {
      for (const token of lapsed) {
        if (this.#dispatches.find(token)?.phase !== "sent") this.#ledger.releaseDead(token);
        this.#drop(token);
      }
    });
    return lapsed.length;
  }

  /** Nothing new starts. What is in flight may finish, for ten minutes at most. */
  endEarly(ending: EarlyEnding, now: Date): void {
    const { record } = this.#state;
    const stage = { kind: "draining", ending, until: new Date(now.getTime() + MAX_DRAIN_MS) } as const;
    this.#storage.transaction(() => {
      this.#write({ stage, record: ending === "cancelled" ? move(record, "cancelling", now) : record });
      for (const token of this.#dispatches.sentTokens()) this.#drop(token);
    });
  }

  /** Draining, and nothing in flight is left to wait for. */
  isDrained(now: Date): boolean {
    return this.stage.kind === "draining" && (this.#ledger.openLines === 0 || this.stage.until <= now);
  }

  /** From here on no report is accepted: the tokens are gone. */
  stopWaiting(): void {
    const { stage } = this;
    this.#storage.transaction(() => {
      for (const token of this.#dispatches.tokens()) this.#drop(token);
      if (stage.kind === "draining") this.#write({ stage: { kind: "finalizing", ending: stage.ending } });
    });
  }

  /** Settles lines that have no result; their error lines are already stored as `chunk`. */
  settleMissing(chunk: StoredChunk): void {
    this.#storage.transaction(() => {
      this.#results.settleMissing(chunk, this.#ledger);
      this.#writeSlices();
    });
  }

  /** Also when the window is over meanwhile: nothing is missing. */
  finalizeWhenSettled(now: Date): void {
    if (this.#state.record.status !== "in_progress" || this.#ledger.unsettledLines > 0) return;
    const record = move(this.#state.record, "finalizing", now);
    this.#write({ record, stage: { kind: "finalizing", ending: "completed" } });
  }

  /** Their bytes are gone: their lines are to be settled again. To be called when nothing runs any more. */
  loseChunks(chunks: readonly StoredChunk[]): void {
    if (chunks.length === 0) return;
    this.#storage.transaction(() => {
      this.#results.lose(chunks, this.#ledger);
      this.#writeSlices();
    });
  }

  /** The files are written, or never will be. A guest's key has no further use. */
  recordFinal(final: FinalState): void {
    this.#write({ stage: { kind: "ended", final }, sealedKey: null });
  }

  /** D1 has the final record and the files: now clients may see it. */
  markPublished(final: FinalState): void {
    this.#state = { ...this.#state, stage: { kind: "published", final } };
  }

  /** When something is due by itself, in ms; null when everything waits for others. */
  nextDueAt(now: Date): number | null {
    const { record, stage } = this.#state;
    const times = [this.#dispatches.nextLapseAt];
    if (stage.kind === "open") times.push(record.expiresAt.getTime(), this.#ledger.nextDueAt(now.getTime()));
    if (stage.kind === "draining") times.push(stage.until.getTime());
    return earliest(times);
  }

  /** The end of the window counts before the alarm has noticed it: consumers would give every line back at once. */
  #mayStart(now: Date): boolean {
    return this.isRunning && now < this.#state.record.expiresAt;
  }

  #beginDispatching(room: UpstreamRoom): Dispatching {
    const lines = { ledger: this.#ledger, dispatches: this.#dispatches };
    return new Dispatching(lines, room, { hasServed: this.#results.counts(0).completed > 0 });
  }

  /** What it held is there for others. */
  #drop(token: string): void {
    this.#ledger.release(token);
    this.#dispatches.drop(token);
    this.#storage.deleteDispatch(token);
    this.#writeSlices();
  }

  #writeSlices(): void {
    this.#storage.writeSlices(this.#ledger.takeChanged());
  }

  #write(change: Partial<BatchState>): void {
    const state = { ...this.#state, ...change };
    this.#storage.writeBatch(state);
    this.#state = state;
  }
}
