/**
 * Works for one dispatch: keeps its slots filled with lines, and makes the exchanges with the coordinator.
 *
 * Lines run by themselves: each is sent, and then settled, held back to be tried again soon, or given back to the
 * coordinator. One loop makes the exchanges: when more lines are wanted, when much is finished, and every few seconds.
 *
 *   working        takes further slices, until there are none, or its time is over
 *   winding_down   finishes what it has; ends when nothing is left
 *   (stopped)      in either phase, when the coordinator says so: starts nothing more, and gives back what waits
 *   leaving        nothing is left: the last report
 *
 * Where a line is meanwhile: in `HeldLines` (ready, or waiting for another try), in flight, in the reporter's
 * `FinishedLines`, in its chunk, or among the lines that it gives back.
 */
import { type DispatchPhase, HEARTBEAT_MS } from "../domain/conversation.ts";
import { isSuspect } from "../domain/line-history.ts";
import { MAX_HANDED_BYTES } from "../domain/limits.ts";
import type { LineRoom } from "../domain/memory-budget.ts";
import { decideRetry } from "../domain/retry-policy.ts";
import type { ClaimedSlice } from "../domain/slices.ts";
import { logFailure } from "../log.ts";
import { putChunk } from "../stores/chunks.ts";
import { type DispatchOrder, sendTo } from "./dispatch-order.ts";
import { HeldLines } from "./held-lines.ts";
import type { Sharer } from "./invocation.ts";
import { type GivenLine, Reporter } from "./reporter.ts";
import { type DispatchSummary, RunSummary } from "./run-summary.ts";
import { type ReadyLine, readSliceLines } from "./slice-lines.ts";
import { StartAllowance } from "./start-allowance.ts";
import { UpstreamView } from "./upstream-view.ts";

/** `done`: nothing is left. `unknown`: others have its lines. `gave_up`: nobody could be reached for too long. */
type RunEnd = "done" | "unknown" | "gave_up";

/** A line that may be tried again this soon waits here; others go back to the coordinator. */
const MAX_WAIT_MS = 5_000;
/** Lines that were taken, but are not started yet, need some time. */
const LAST_LINES_MS = 30_000;

export class DispatchRun implements Sharer {
  /** What it works on, as the claim said. */
  readonly #order: DispatchOrder;
  readonly #summary = new RunSummary();
  readonly #reporter: Reporter;
  readonly #upstream: UpstreamView;
  readonly #held = new HeldLines();
  /** Lines in flight, and how many may be. */
  #running = 0;
  #slots: number;
  /** Slots that it could use when it last reported: others may not have them before the next report. */
  #reportedUse: number;
  readonly #starts: StartAllowance;
  /** Other batches wait for slots that it cannot use. */
  isRoomWanted: boolean;
  #phase: Extract<DispatchPhase, "working" | "winding_down">;
  /** The coordinator wants nothing more to start. */
  #isStopped = false;
  /** Resolved when the loop has to look: a line has ended or may be tried again, or it is time for something. */
  #event = Promise.withResolvers<void>();

  constructor(order: DispatchOrder) {
    this.#order = order;
    this.#slots = order.claim.slots;
    this.#reportedUse = order.claim.slots;
    this.isRoomWanted = order.claim.isRoomWanted;
    this.#starts = new StartAllowance(order.claim.starts);
    this.#phase = order.claim.mayHaveMore ? "working" : "winding_down";
    this.#upstream = new UpstreamView(order.claim.standing);
    const store = (key: string, bytes: Uint8Array) => order.invocation.inTurn(() => putChunk(order.bucket, key, bytes));
    this.#reporter = new Reporter({ batchId: order.claim.batch.batchId, ...order, store });
  }

  /** Resolves when every line it took is reported, or given back, or somebody else's. Never rejects. */
  async run(): Promise<DispatchSummary & { readonly end: RunEnd }> {
    this.#order.invocation.join(this);
    try {
      const end = await this.#work();
      return { ...this.#summary.describe(), end };
    } finally {
      this.#order.invocation.leave(this);
    }
  }

  async #work(): Promise<RunEnd> {
    await this.#take(this.#order.claim.slices);
    for (;;) {
      this.launch();
      if (!this.#isExchangeDue()) {
        await this.#nextEvent();
        continue;
      }
      const end = await this.#exchange();
      if (end === null) continue;
      this.#giveBackHeld();
      return end;
    }
  }

  /** Fills the slots. */
  launch(): void {
    const now = Date.now();
    const { invocation, claim } = this.#order;
    const endsAt = Math.min(this.#startsUntil, claim.batch.expiresAt.getTime());
    if (this.#isStopped || now >= endsAt) return this.#giveBackHeld();
    // What cannot be stored stays in memory.
    if (this.#reporter.isRefused || this.#hasScarcity) return;
    while (this.#running < this.#upstream.gate.allowance(this.#slots, now) && !this.#starts.isUsedUp) {
      const bodyBytes = this.#held.nextCharacters;
      if (bodyBytes === null || !invocation.hasRoomFor(bodyBytes)) return;
      const line = this.#held.next();
      if (line === null) return;
      this.#starts.begin();
      void this.#runLine(line);
    }
  }

  async #runLine(line: ReadyLine): Promise<void> {
    const { invocation } = this.#order;
    this.#running += 1;
    const room = invocation.startLine(line.body.length);
    try {
      await this.#tryLine(line, room);
    } catch (error) {
      // Nothing above is expected to throw. The line is not lost: it goes back, and counts as tried.
      const { batchId } = this.#order.claim.batch;
      logFailure("line_failed", { batch: batchId, dispatch: this.#order.token, line: line.line + 1 }, error);
      this.#giveBack({ ...line, attempts: line.attempts + 1 }, new Date(Date.now() + MAX_WAIT_MS));
    } finally {
      this.#running -= 1;
      invocation.noteUnstored(this, this.#reporter.bytes);
      // What comes next is launched by it.
      room.close();
      // Under pressure the gate and the next report move, and with them the time at which the loop must wake.
      const hasNews = this.#reporter.hasTrouble || this.#hasRoomForOthers || this.#hasScarcity;
      if (hasNews || this.#isExchangeDue()) this.#event.resolve();
    }
  }

  async #tryLine(line: ReadyLine, room: LineRoom): Promise<void> {
    const tried = { ...line, attempts: line.attempts + 1 };
    const sentAt = new Date();
    const outcome = await sendTo(this.#order, tried, { room, onTry: () => this.#reporter.noteTry() });
    const now = new Date();
    const { expiresAt: deadline } = this.#order.claim.batch;
    const { history = null, attempts: attempt } = tried;
    const { standing } = this.#upstream;
    const times = { startedAt: sentAt, now, deadline };
    const decision = decideRetry({ outcome, attempt, history, standing, ...times, random: Math.random() });
    this.#starts.noteTry(now.getTime() - sentAt.getTime());
    const isLines = isSuspect(history, decision.class);
    this.#reporter.noteAnswer(decision.class, { outcome, isSuspect: isLines, sentAt, answeredAt: now });
    const hasSucceeded = outcome.failure === null;
    this.#upstream.observe({ class: decision.class, hasSucceeded, isSuspect: isLines, now }, this.#slots);
    if (decision.kind === "settle") {
      this.#summary.noteSettled(line.line, this.#reporter.settle(line, outcome, now));
      return;
    }
    const failed = { ...tried, history: decision.history };
    const delayMs = decision.at.getTime() - now.getTime();
    if (delayMs > MAX_WAIT_MS) return this.#giveBack(failed, decision.at);
    this.#held.wait(failed, delayMs, () => {
      this.launch();
      this.#event.resolve();
    });
  }

  #giveBack(line: GivenLine, dueAt: Date | null): void {
    this.#reporter.giveBack(line, dueAt);
    this.#summary.noteGivenBack();
  }

  #giveBackHeld(): void {
    for (const line of this.#held.takeAll()) this.#giveBack(line, null);
  }

  async #take(slices: readonly ClaimedSlice[]): Promise<void> {
    this.#summary.noteTaken(slices);
    this.#reporter.expect(slices);
    try {
      const { inputFileId } = this.#order.claim.batch;
      const { bucket, invocation } = this.#order;
      const lines = await invocation.inTurn(() => readSliceLines(bucket, inputFileId, slices));
      if (lines !== null) return this.#held.add(lines);
      this.#reporter.noteInputMissing();
      this.#giveBackSlices(slices, null);
    } catch (error) {
      this.#reporter.noteFailure("slices_not_read", error);
      this.#giveBackSlices(slices, new Date(Date.now() + MAX_WAIT_MS));
    }
  }

  #giveBackSlices(slices: readonly ClaimedSlice[], dueAt: Date | null): void {
    for (const { index, lines } of slices) {
      for (const line of lines) this.#giveBack({ ...line, sliceIndex: index }, dueAt);
    }
  }

  #isExchangeDue(): boolean {
    const now = Date.now();
    if (now < this.#reporter.restUntil) return false;
    if (this.#isIdle || this.#reporter.isRefused || this.#wantedLines() > 0) return true;
    // The coordinator is to hear at once when nothing is fine any more.
    const isClosed = !this.#upstream.gate.isOpen(now) && this.#reporter.hasTrouble;
    if (this.#hasScarcity && now >= this.#reporter.maySayScarceAt) return true;
    if ((this.#hasRoomForOthers || this.#wantedStarts() > 0) && now >= this.#reporter.mayReleaseAt) return true;
    return isClosed || this.#reporter.isFull || now >= this.#reporter.nextReportAt;
  }

  /** @returns how the run ends, or null when it goes on. */
  async #exchange(): Promise<RunEnd | null> {
    const wantedLines = this.#wantedLines();
    const isLeaving = this.#isIdle && wantedLines === 0 && !this.#reporter.hasBacklog;
    const phase = this.#isTaking ? "working" : "winding_down";
    const canUse = this.#order.invocation.slotsFor(this);
    const wantedStarts = this.#wantedStarts(this.#held.size + wantedLines);
    const held = { inFlight: this.#running, waiting: this.#held.size, canUse, wantedStarts };
    this.#summary.noteExchange();
    const reply = await this.#reporter.exchange({ wantedLines, phase: isLeaving ? "leaving" : phase, ...held });
    this.#order.invocation.noteUnstored(this, this.#reporter.bytes);
    if (reply?.kind === "unknown") return "unknown";
    if (reply?.kind === "stop") {
      this.#isStopped = true;
      this.#slots = 0;
      this.#reportedUse = held.inFlight;
    }
    if (reply?.kind === "run") {
      // A coordinator of an older Worker does not know what is left of the invocation.
      this.#slots = Math.min(reply.slots, canUse);
      this.isRoomWanted = reply.isRoomWanted;
      this.#starts.add(reply.starts);
      this.#reportedUse = Math.max(held.inFlight, Math.min(this.#slots, held.inFlight + held.waiting));
      this.#upstream.learn(reply.standing);
      if (!reply.mayHaveMore) this.#phase = "winding_down";
    }
    if (this.#reporter.isFailing) return this.#reporter.hasGivenUp ? "gave_up" : null;
    if (isLeaving) return "done";
    if (reply?.kind !== "run") return null;
    await this.#take(reply.slices);
    if (reply.slices.length > 0) this.#reportedUse = this.#usableSlots;
    return null;
  }

  get neededSlots(): number {
    return this.#isTaking ? Math.max(this.#slots, this.#running) : this.#usableSlots;
  }

  get #usableSlots(): number {
    return Math.max(this.#running, Math.min(this.#slots, this.#running + this.#held.size));
  }

  /** Tries that it would begin before its next report if the upstream's budgets let it. */
  #wantedStarts(heldLines = this.#held.size): number {
    return this.#starts.wantedOf({ slots: this.#slots, running: this.#running, heldLines });
  }

  /** Nobody has said yet how many tries it may begin, and the upstream takes little more. */
  get #hasScarcity(): boolean {
    return this.#starts.isUnlimited && this.#reporter.hasScarcity(this.#slots);
  }

  /** Slots that the coordinator believes to be used, and are not. */
  get #hasRoomForOthers(): boolean {
    return (this.isRoomWanted || this.#isStopped) && this.#usableSlots < this.#reportedUse;
  }

  /** As many as keep the slots filled while the next lines are fetched, and enough at a time that it fetches seldom. */
  #wantedLines(): number {
    const lookAhead = this.#summary.linesAhead(this.#slots);
    const held = this.#held.size;
    if (!this.#isTaking || this.#reporter.isFailing || held >= lookAhead / 2) return 0;
    return this.#held.characters < MAX_HANDED_BYTES ? lookAhead - held : 0;
  }

  get #isTaking(): boolean {
    const hasTime = !this.#summary.hasTakenEnough && Date.now() < this.#startsUntil - LAST_LINES_MS;
    return this.#phase === "working" && !this.#isStopped && hasTime;
  }

  /** In ms. */
  get #startsUntil(): number {
    return this.#order.invocation.startsUntil(this.#order.upstream?.timeoutSeconds ?? 0);
  }

  get #isIdle(): boolean {
    return this.#running === 0 && this.#held.size === 0;
  }

  async #nextEvent(): Promise<void> {
    const now = Date.now();
    const times = [this.#reporter.nextReportAt, this.#reporter.restUntil, this.#upstream.gate.opensAt];
    if (this.#hasScarcity) times.push(this.#reporter.maySayScarceAt);
    if (this.#hasRoomForOthers || this.#wantedStarts() > 0) times.push(this.#reporter.mayReleaseAt);
    const due = Math.min(...times.filter((time) => time > now), now + HEARTBEAT_MS);
    const timer = setTimeout(() => this.#event.resolve(), due - now);
    await this.#event.promise;
    clearTimeout(timer);
    this.#event = Promise.withResolvers();
  }
}
