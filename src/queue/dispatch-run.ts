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
import type { Upstream } from "../config.ts";
import type { AnswerClass } from "../domain/answer-class.ts";
import {
  type ClaimReply,
  type DispatchPhase,
  HEARTBEAT_MS,
  type Report,
  type ReportReply,
  TAKES_SLICES_FOR_MS,
} from "../domain/conversation.ts";
import { isSuspect } from "../domain/line-history.ts";
import { MAX_HANDED_BYTES } from "../domain/limits.ts";
import { type LineRoom, MemoryBudget } from "../domain/memory-budget.ts";
import { noAnswer, type Outcome } from "../domain/outcome.ts";
import { PressureGate } from "../domain/pressure-gate.ts";
import { decideRetry, type UpstreamStanding } from "../domain/retry-policy.ts";
import type { ClaimedSlice } from "../domain/slices.ts";
import { logFailure } from "../log.ts";
import { sendLine } from "../upstream/send.ts";
import { HeldLines } from "./held-lines.ts";
import { type GivenLine, Reporter } from "./reporter.ts";
import { type DispatchSummary, RunSummary } from "./run-summary.ts";
import { type ReadyLine, readSliceLines } from "./slice-lines.ts";

export interface DispatchOrder {
  readonly token: string;
  readonly claim: Extract<ClaimReply, { kind: "run" }>;
  /** Null: no longer in the settings; its lines then count as sent to an upstream that cannot be reached. */
  readonly upstream: Upstream | null;
  /** The guest's key is there, and cannot be read: its lines count as refused. */
  readonly isKeyUnreadable: boolean;
  /** The guest's own key, in place of the configured one. */
  readonly apiKey: string | null;
  readonly bucket: R2Bucket;
  readonly report: (report: Report) => Promise<ReportReply>;
}

interface Answered {
  readonly outcome: Outcome;
  /** The line fails by itself. */
  readonly isSuspect: boolean;
  readonly now: Date;
}

/** `done`: nothing is left. `unknown`: others have its lines. `gave_up`: nobody could be reached for too long. */
type RunEnd = "done" | "unknown" | "gave_up";

/** A line that may be tried again this soon waits here; others go back to the coordinator. */
const MAX_WAIT_MS = 5_000;
/** It holds the lines that it will send in this time at its present pace, and two rounds of its slots at least. */
const LOOK_AHEAD_SECONDS = 1;
/** It also takes slices beyond its time until it has taken this many lines. */
const TAKES_LINES = 100;
/** After this no line is started: a slow upstream's dispatch is worth its price by then. */
const STARTS_LINES_FOR_MS = 270_000;
/** developers.cloudflare.com/queues/platform/limits: 15 minutes, less a little to report and end. */
const MAX_INVOCATION_MS = 870_000;
/** Lines that were taken, but are not started yet, need some time. */
const LAST_LINES_MS = 30_000;

export class DispatchRun {
  /** What it works on, as the claim said. */
  readonly #order: DispatchOrder;
  readonly #summary = new RunSummary();
  readonly #reporter: Reporter;
  /** Closed while the upstream takes nothing. */
  readonly #gate = new PressureGate();
  readonly #held = new HeldLines();
  /** What lines in flight and results may take of memory. */
  readonly #memory = new MemoryBudget();
  /** Lines in flight, and how many may be. */
  #running = 0;
  #slots: number;
  #phase: Extract<DispatchPhase, "working" | "winding_down">;
  /** The coordinator wants nothing more to start. */
  #isStopped = false;
  /** What is known of the upstream: by the coordinator's last reply, and by what was answered here since. */
  #standing: UpstreamStanding;
  /** Resolved when the loop has to look: a line has ended or may be tried again, or it is time for something. */
  #event = Promise.withResolvers<void>();

  constructor(order: DispatchOrder) {
    this.#order = order;
    this.#slots = order.claim.slots;
    this.#phase = order.claim.mayHaveMore ? "working" : "winding_down";
    this.#standing = order.claim.standing;
    this.#reporter = new Reporter({ batchId: order.claim.batch.batchId, ...order });
  }

  /** Resolves when every line it took is reported, or given back, or somebody else's. Never rejects. */
  async run(): Promise<DispatchSummary & { readonly end: RunEnd }> {
    await this.#take(this.#order.claim.slices);
    for (;;) {
      this.#launch();
      if (!this.#isExchangeDue()) {
        await this.#nextEvent();
        continue;
      }
      const end = await this.#exchange();
      if (end === null) continue;
      this.#giveBackHeld();
      return { ...this.#summary.describe(), end };
    }
  }

  /** Fills the slots. */
  #launch(): void {
    const now = Date.now();
    const { expiresAt } = this.#order.claim.batch;
    if (this.#isStopped || now >= this.#startsUntil || now >= expiresAt.getTime()) return this.#giveBackHeld();
    // What cannot be stored stays in memory.
    if (this.#reporter.isRefused) return;
    while (this.#running < this.#gate.allowance(this.#slots, now)) {
      const bodyBytes = this.#held.nextCharacters;
      if (bodyBytes === null || !this.#memory.hasRoomFor(bodyBytes)) return;
      const line = this.#held.next();
      if (line === null) return;
      void this.#runLine(line);
    }
  }

  async #runLine(line: ReadyLine): Promise<void> {
    this.#running += 1;
    const room = this.#memory.start(line.body.length);
    try {
      await this.#tryLine(line, room);
    } catch (error) {
      // Nothing above is expected to throw. The line is not lost: it goes back, and counts as tried.
      const { batchId } = this.#order.claim.batch;
      logFailure("line_failed", { batch: batchId, dispatch: this.#order.token, line: line.line + 1 }, error);
      this.#giveBack({ ...line, attempts: line.attempts + 1 }, new Date(Date.now() + MAX_WAIT_MS));
    } finally {
      this.#running -= 1;
      this.#memory.noteUnstored(this.#reporter.bytes);
      room.close();
      this.#launch();
      // Under pressure the gate and the next report move, and with them the time at which the loop must wake.
      if (this.#reporter.hasTrouble || this.#isExchangeDue()) this.#event.resolve();
    }
  }

  async #tryLine(line: ReadyLine, room: LineRoom): Promise<void> {
    const tried = { ...line, attempts: line.attempts + 1 };
    const startedAt = new Date();
    const outcome = await this.#send(tried, room);
    const now = new Date();
    const { expiresAt: deadline } = this.#order.claim.batch;
    const { history = null, attempts: attempt } = tried;
    const standing = this.#standing;
    const random = Math.random();
    const decision = decideRetry({ outcome, attempt, history, standing, startedAt, now, deadline, random });
    this.#noteAnswer(decision.class, { outcome, isSuspect: isSuspect(history, decision.class), now });
    if (decision.kind === "settle") {
      this.#summary.noteSettled(line.line, this.#reporter.settle(line, outcome, now));
      return;
    }
    const failed = { ...tried, history: decision.history };
    const delayMs = decision.at.getTime() - now.getTime();
    if (delayMs > MAX_WAIT_MS) return this.#giveBack(failed, decision.at);
    this.#held.wait(failed, delayMs, () => {
      this.#launch();
      this.#event.resolve();
    });
  }

  #noteAnswer(answerClass: AnswerClass, { outcome, isSuspect: isLines, now }: Answered): void {
    const isFine = answerClass === "fine";
    const hasServed = this.#standing.hasServed || outcome.failure === null;
    if (isFine) this.#standing = { ...this.#standing, servedAt: now.getTime(), hasServed };
    this.#reporter.noteAnswer(answerClass, outcome, isLines);
    // What a line does by itself says nothing of the upstream.
    if (isFine || !isLines) this.#gate.observe(isFine ? "fine" : "pressure", this.#slots, now.getTime());
  }

  async #send({ line, body, attempts: attempt }: ReadyLine, { reserve }: LineRoom) {
    const { upstream, apiKey, claim } = this.#order;
    if (this.#order.isKeyUnreadable) return noAnswer("guest_key_unreadable");
    if (upstream === null) return noAnswer("upstream_unreachable");
    const requestKey = `${claim.batch.batchId}-${line + 1}`;
    return sendLine(upstream, { endpoint: claim.batch.endpoint, body, requestKey, attempt, apiKey, reserve });
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
      const lines = await readSliceLines(this.#order.bucket, inputFileId, slices);
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
    const isClosed = !this.#gate.isOpen(now) && this.#reporter.hasTrouble;
    return isClosed || this.#reporter.isFull || now >= this.#reporter.nextReportAt;
  }

  /** @returns how the run ends, or null when it goes on. */
  async #exchange(): Promise<RunEnd | null> {
    const wantedLines = this.#wantedLines();
    const isLeaving = this.#isIdle && wantedLines === 0 && !this.#reporter.hasBacklog;
    const phase = this.#isTaking ? "working" : "winding_down";
    this.#summary.noteExchange();
    const reply = await this.#reporter.exchange({ wantedLines, phase: isLeaving ? "leaving" : phase });
    this.#memory.noteUnstored(this.#reporter.bytes);
    if (reply?.kind === "unknown") return "unknown";
    if (reply?.kind === "stop") this.#isStopped = true;
    if (reply?.kind === "run") {
      this.#slots = reply.slots;
      this.#learn(reply.standing);
      if (!reply.mayHaveMore) this.#phase = "winding_down";
    }
    if (this.#reporter.isFailing) return this.#reporter.hasGivenUp ? "gave_up" : null;
    if (isLeaving) return "done";
    if (reply?.kind === "run") await this.#take(reply.slices);
    return null;
  }

  /** As many as keep the slots filled while the next lines are fetched, and enough at a time that it fetches seldom. */
  #wantedLines(): number {
    const lookAhead = Math.max(2 * this.#slots, Math.ceil(this.#summary.linesPerSecond * LOOK_AHEAD_SECONDS));
    const held = this.#held.size;
    if (!this.#isTaking || this.#reporter.isFailing || held >= lookAhead / 2) return 0;
    return this.#held.characters < MAX_HANDED_BYTES ? lookAhead - held : 0;
  }

  #learn(told: UpstreamStanding): void {
    const { servedAt, hasServed } = this.#standing;
    const latest = Math.max(told.servedAt ?? 0, servedAt ?? 0);
    this.#standing = { ...told, servedAt: latest === 0 ? null : latest, hasServed: told.hasServed || hasServed };
  }

  get #isTaking(): boolean {
    const now = Date.now();
    const isOld = now >= this.#summary.startedAt + TAKES_SLICES_FOR_MS && this.#summary.takenLines >= TAKES_LINES;
    return this.#phase === "working" && !this.#isStopped && !isOld && now < this.#startsUntil - LAST_LINES_MS;
  }

  /** In ms. With the upstream's timeout behind it, the invocation still ends in time. */
  get #startsUntil(): number {
    const timeoutMs = (this.#order.upstream?.timeoutSeconds ?? 0) * 1000;
    return this.#summary.startedAt + Math.min(STARTS_LINES_FOR_MS, MAX_INVOCATION_MS - timeoutMs);
  }

  get #isIdle(): boolean {
    return this.#running === 0 && this.#held.size === 0;
  }

  async #nextEvent(): Promise<void> {
    const now = Date.now();
    const times = [this.#reporter.nextReportAt, this.#reporter.restUntil, this.#gate.opensAt];
    const due = Math.min(...times.filter((time) => time > now), now + HEARTBEAT_MS);
    const timer = setTimeout(() => this.#event.resolve(), due - now);
    await this.#event.promise;
    clearTimeout(timer);
    this.#event = Promise.withResolvers();
  }
}
