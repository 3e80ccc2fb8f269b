/**
 * A batch while it lives: its record, its ledger, and the dispatches that work on it, in memory and written
 * through to the object's tables. Synchronous; no queue, R2, D1 or alarm here (src/batch/coordinator.ts).
 *
 * A dispatch is `sent` (in the queue), then `working` (claimed), then `winding_down`, then gone. Its lease is
 * renewed by every exchange; when it lapses, its lines are taken back and its token means nothing any more.
 * Leases are kept in memory alone: after a restart every dispatch has a fresh one.
 */
import { addUsage } from "../domain/usage.ts";
import { type BatchRecord, type LineProblem, move, type Usage } from "../domain/batch.ts";
import type { BatchContext, ClaimReply, ClaimedSlice, ReportReply, Report, Slice } from "../domain/dispatch.ts";
import {
  type Demand,
  type DispatchPhase,
  mustMakeRoom,
  planDispatches,
  planGrant,
  planSlots,
} from "../domain/dispatch-plan.ts";
import { adjustLimit, type InFlightLimit, allowedNow, startLimit } from "../domain/in-flight-limit.ts";
import { Ledger } from "../domain/ledger.ts";
import type { BatchState, Ending, FinalState, StoredChunk, StoredLine, StoredResult } from "./ledger-rows.ts";
import type { LedgerStore } from "./ledger-store.ts";

/** Consumers report at least every 10 s: three reports may fail before their lines are given to others. */
const LEASE_MS = 40_000;
/** A dispatch that nobody claims is sent again after this, and after twice this the next time, and so on. */
const UNCLAIMED_MS = 30_000;
const MAX_UNCLAIMED_MS = 600_000;
/** platform.openai.com/docs/guides/batch: a batch is `cancelling` for up to 10 minutes. */
const MAX_DRAIN_MS = 600_000;

export interface Share {
  /** What its upstream may have in flight, and this batch's part of it: 0 while it waits for its turn. */
  readonly maxInFlight: number;
  readonly shareLines: number;
  readonly linesPerInvocation: number;
}

interface LiveDispatch {
  readonly token: string;
  phase: DispatchPhase;
  /** When it was sent, or claimed. */
  since: number;
  leaseUntil: number;
  /** Lines that it was last told it may have in flight. */
  slots: number;
}

export class LiveBatch {
  readonly #store: LedgerStore;
  #state: BatchState;
  #ledger: Ledger;
  readonly #dispatches = new Map<string, LiveDispatch>();
  #share: Share;
  #limit: InFlightLimit;
  #completed = 0;
  #failed = 0;
  #usage: Usage | null = null;
  #unclaimedInARow = 0;
  #isPublished = false;

  /** @param stored as read from `store`, whose other tables are read here. */
  constructor(store: LedgerStore, stored: BatchState, share: Share) {
    const now = new Date();
    this.#store = store;
    this.#state = stored;
    this.#share = share;
    this.#limit = startLimit(share.maxInFlight);
    this.#ledger = new Ledger(store.readSlices());
    for (const chunk of store.readChunks()) this.#count(chunk);
    for (const { token, phase } of store.readDispatches()) {
      const slots = phase === "sent" ? 0 : share.linesPerInvocation;
      const since = now.getTime();
      this.#dispatches.set(token, { token, phase, since, leaseUntil: since + LEASE_MS, slots });
    }
  }

  /** As a client sees it now. */
  get record(): BatchRecord {
    if (this.#isPublished && this.#state.final !== null) return this.#state.final.record;
    return { ...this.#state.record, ...this.#tally() };
  }

  get state(): BatchState {
    return this.#state;
  }

  setShare(share: Share): void {
    this.#share = share;
  }

  /** Lines may be started. */
  get isRunning(): boolean {
    return this.#state.record.status === "in_progress" && this.#state.ending === null;
  }

  /** Lines that could be in flight now if there were room. */
  runnableLines(now: Date): number {
    if (!this.isRunning) return 0;
    const lines = this.#ledger.claimableLines(now.getTime()) + this.#ledger.openLines;
    return allowedNow(this.#limit, now) === 0 ? Math.min(1, lines) : lines;
  }

  unsettledSlices(): readonly ClaimedSlice[] {
    return this.#ledger.unsettledSlices();
  }

  /** The batch ends, its files are still to be written, and nothing in flight is left to wait for. */
  isDrained(now: Date): boolean {
    const { ending, endsBy, final } = this.#state;
    if (ending === null || final !== null) return false;
    return this.#ledger.openLines === 0 || (endsBy !== null && endsBy <= now);
  }

  /** Leases run, in memory alone. */
  get isWaiting(): boolean {
    return this.#dispatches.size > 0;
  }

  acceptInput(slices: readonly Slice[], model: string | null, now: Date): void {
    this.#store.transaction(() => {
      const states = slices.map((slice) => ({ slice, progress: "fresh" as const, token: null }));
      this.#store.writeSlices(states);
      this.#ledger = new Ledger(states);
      const total = this.#ledger.totalLines;
      const record = { ...this.#state.record, model, counts: { total, completed: 0, failed: 0 } };
      this.#write({ record: move(record, "in_progress", now) });
    });
  }

  refuseInput(problems: readonly LineProblem[], now: Date): void {
    const record = move({ ...this.#state.record, errors: problems }, "failed", now);
    this.#write({ ending: "failed", final: { record, files: [] }, sealedKey: null });
  }

  claim(token: string, now: Date): ClaimReply {
    const dispatch = this.#dispatches.get(token);
    if (dispatch?.phase !== "sent") return { kind: "unknown" };
    return this.#store.transaction(() => {
      this.#unclaimedInARow = 0;
      if (!this.#maySend(now)) {
        this.#drop(dispatch);
        return { kind: "stop" };
      }
      dispatch.phase = "working";
      dispatch.since = now.getTime();
      this.#renew(dispatch, now);
      this.#store.writeDispatch({ token, phase: "working" });
      const orders = this.#giveOrders(dispatch, this.#share.linesPerInvocation, now);
      if (orders.kind === "run" && orders.slices.length > 0) return { ...orders, batch: this.#context() };
      this.#drop(dispatch);
      return { kind: "stop" };
    });
  }

  /** Settles and takes back what the report says, in one transaction, before it answers. */
  report(report: Report, now: Date): ReportReply {
    const dispatch = this.#dispatches.get(report.token);
    if (dispatch === undefined || dispatch.phase === "sent") return { kind: "unknown" };
    return this.#store.transaction(() => {
      this.#renew(dispatch, now);
      this.#settle(report);
      this.#ledger.giveBack(report.token, report.givenBack);
      this.#observe(report, now);
      if (report.inputMissing && this.isRunning) this.endEarly("failed", now);
      if (report.phase === "leaving") this.#drop(dispatch);
      else if (report.phase === "winding_down") dispatch.phase = "winding_down";
      const orders = this.#answer(dispatch, report, now);
      this.#writeSlices();
      if (this.#state.record.status === "in_progress" && this.#ledger.unsettledLines === 0) this.#beginFinalizing(now);
      return orders;
    });
  }

  /**
   * Decides how many dispatches to send now, and writes them down before they are sent: one that is never
   * delivered is found by its lease.
   */
  planDispatches(makeToken: () => string, now: Date): readonly string[] {
    if (!this.isRunning) return [];
    const patience = Math.min(UNCLAIMED_MS * 2 ** this.#unclaimedInARow, MAX_UNCLAIMED_MS);
    const tokens = Array.from({ length: planDispatches(this.#demand(now)) }, makeToken);
    for (const token of tokens) {
      this.#store.writeDispatch({ token, phase: "sent" });
      const since = now.getTime();
      this.#dispatches.set(token, { token, phase: "sent", since, leaseUntil: since + patience, slots: 0 });
    }
    return tokens;
  }

  /** They were not sent, or are dead. */
  forgetDispatches(tokens: readonly string[]): void {
    for (const token of tokens) {
      const dispatch = this.#dispatches.get(token);
      if (dispatch?.phase === "sent") this.#drop(dispatch);
    }
  }

  /** Takes back what dispatches hold whose lease has lapsed. @returns how many there were. */
  lapse(now: Date): number {
    const lapsed = [...this.#dispatches.values()].filter(({ leaseUntil }) => leaseUntil <= now.getTime());
    this.#store.transaction(() => {
      if (lapsed.some(({ phase }) => phase === "sent")) this.#unclaimedInARow += 1;
      for (const dispatch of lapsed) this.#drop(dispatch);
      this.#writeSlices();
    });
    return lapsed.length;
  }

  /** Nothing new starts; what is in flight may finish until `endsBy`. */
  endEarly(ending: Exclude<Ending, "completed">, now: Date): void {
    const endsBy = new Date(now.getTime() + MAX_DRAIN_MS);
    const { record } = this.#state;
    this.#store.transaction(() => {
      this.#write({ ending, endsBy, record: ending === "cancelled" ? move(record, "cancelling", now) : record });
      for (const dispatch of this.#dispatches.values()) if (dispatch.phase === "sent") this.#drop(dispatch);
    });
  }

  /** From here on no report is accepted: the tokens are gone. */
  stopWaiting(): void {
    this.#store.transaction(() => {
      for (const dispatch of this.#dispatches.values()) this.#drop(dispatch);
      this.#writeSlices();
    });
  }

  /** Settles lines that have no result; their error lines are already stored as `chunk`. */
  settleMissing(chunk: StoredChunk): void {
    this.#store.transaction(() => {
      this.#ledger.settleMissing(chunk.lines.map(({ line }) => line));
      this.#store.insertChunk(chunk);
      this.#count(chunk);
      this.#writeSlices();
    });
  }

  /** Their bytes are gone: their lines are to be settled again. To be called when nothing runs any more. */
  loseChunks(chunks: readonly StoredChunk[]): void {
    if (chunks.length === 0) return;
    this.#store.transaction(() => {
      for (const { key, lines } of chunks) {
        this.#store.deleteChunk(key);
        this.#ledger.reopen(lines.filter(({ result }) => result !== "void").map(({ line }) => line));
      }
      this.#writeSlices();
      [this.#completed, this.#failed, this.#usage] = [0, 0, null];
      for (const chunk of this.#store.readChunks()) this.#count(chunk);
    });
  }

  /** The files are written. A guest's key has no further use. */
  recordFinal(final: FinalState): void {
    this.#write({ final, sealedKey: null });
  }

  /** D1 has the final record and the files: now clients may see it. */
  markPublished(): void {
    this.#isPublished = true;
  }

  /** Lines could run, and nobody is there or on the way to run them. */
  needsDispatch(now: Date): boolean {
    return this.isRunning && planDispatches(this.#demand(now)) > 0;
  }

  chunks(): Iterable<StoredChunk> {
    return this.#store.readChunks();
  }

  /** When something is due by itself; null when everything waits for others. */
  nextWakeAt(now: Date): number | null {
    const { ending, endsBy, record } = this.#state;
    const times = [...this.#dispatches.values()].map(({ leaseUntil }) => leaseUntil);
    if (ending === null) {
      times.push(record.expiresAt.getTime());
      const dueAt = this.#ledger.nextDueAt(now.getTime());
      if (dueAt !== null) times.push(dueAt);
      const pausedUntil = this.#limit.pausedUntil?.getTime() ?? 0;
      if (pausedUntil > now.getTime()) times.push(pausedUntil);
    } else if (endsBy !== null) {
      times.push(endsBy.getTime());
    }
    return times.length === 0 ? null : Math.min(...times);
  }

  /** The window's end counts before the alarm has noticed it: consumers would give every line back at once. */
  #maySend(now: Date): boolean {
    return this.isRunning && now < this.#state.record.expiresAt;
  }

  #answer(dispatch: LiveDispatch, report: Report, now: Date): ReportReply {
    if (report.phase === "leaving" || !this.#maySend(now)) return { kind: "stop" };
    return this.#giveOrders(dispatch, report.wantedLines, now);
  }

  #giveOrders(dispatch: LiveDispatch, wantedLines: number, now: Date): ReportReply {
    const demand = this.#demand(now);
    if (mustMakeRoom(demand, dispatch.token, now)) dispatch.phase = "winding_down";
    if (dispatch.phase === "winding_down") {
      dispatch.slots = Math.min(dispatch.slots, Math.max(1, demand.allowedLines));
      return { kind: "run", slots: dispatch.slots, slices: [] };
    }
    const slots = planSlots(demand, dispatch.token);
    dispatch.slots = slots;
    if (slots === 0) {
      dispatch.phase = "winding_down";
      return { kind: "stop" };
    }
    const granted = planGrant(demand, slots, wantedLines);
    const slices = granted === 0 ? [] : this.#ledger.handOut(dispatch.token, granted, now.getTime());
    if (wantedLines > 0 && slices.length === 0) dispatch.phase = "winding_down";
    this.#writeSlices();
    return { kind: "run", slots, slices };
  }

  #settle({ token, chunk, usage }: Report): void {
    if (chunk === null || this.#store.hasChunk(chunk.key)) return;
    const accepted = this.#ledger.settle(token, chunk.lines);
    if (!accepted.includes(true)) return;
    const lines = chunk.lines.map(({ line, bytes, result }, index): StoredLine => {
      const stored: StoredResult = accepted[index] === true ? result : "void";
      return { line, bytes, result: stored };
    });
    const stored = { key: chunk.key, lines, usage };
    this.#store.insertChunk(stored);
    this.#count(stored);
  }

  #observe({ answers, pressured }: Report, now: Date): void {
    this.#limit = adjustLimit(this.#limit, { answers, pressured, shareLines: this.#share.shareLines, now });
  }

  #beginFinalizing(now: Date): void {
    this.#write({ record: move(this.#state.record, "finalizing", now), ending: "completed", endsBy: null });
  }

  #demand(now: Date): Demand {
    const allowedLines = Math.min(allowedNow(this.#limit, now), this.#share.shareLines);
    return {
      allowedLines,
      claimableLines: allowedLines === 0 ? 0 : this.#ledger.claimableLines(now.getTime()),
      linesPerInvocation: this.#share.linesPerInvocation,
      dispatches: [...this.#dispatches.values()].map(({ token, phase, since, slots }) => ({
        token,
        phase,
        since: new Date(since),
        slots,
        openLines: phase === "winding_down" ? this.#ledger.openLinesOf(token) : 0,
      })),
    };
  }

  #context(): BatchContext {
    const { record, sealedKey } = this.#state;
    return {
      batchId: record.id,
      endpoint: record.endpoint,
      upstream: record.upstream,
      inputFileId: record.inputFileId,
      expiresAt: record.expiresAt,
      sealedKey,
    };
  }

  #renew(dispatch: LiveDispatch, now: Date): void {
    dispatch.leaseUntil = now.getTime() + LEASE_MS;
  }

  #drop(dispatch: LiveDispatch): void {
    this.#ledger.release(dispatch.token);
    this.#dispatches.delete(dispatch.token);
    this.#store.deleteDispatch(dispatch.token);
    this.#writeSlices();
  }

  #writeSlices(): void {
    this.#store.writeSlices(this.#ledger.takeChanged());
  }

  #write(change: Partial<BatchState>): void {
    const state = { ...this.#state, ...change };
    this.#store.writeBatch(state);
    this.#state = state;
  }

  #count(chunk: StoredChunk): void {
    for (const { result } of chunk.lines) {
      if (result === "completed") this.#completed += 1;
      else if (result === "failed") this.#failed += 1;
    }
    this.#usage = addUsage(this.#usage, chunk.usage);
  }

  #tally(): Pick<BatchRecord, "counts" | "usage"> {
    const { total } = this.#state.record.counts;
    return { counts: { total, completed: this.#completed, failed: this.#failed }, usage: this.#usage };
  }
}
