/**
 * Works for one dispatch: keeps its slots filled with lines, and talks to the coordinator now and then. Lines
 * run by themselves; one loop makes the exchanges: report what is finished, take further slices. An exchange
 * takes place when more lines are wanted, when much is finished, and every few seconds, which is also the
 * heartbeat. Storing, reporting and their failures are the reporter's.
 */
import type { Upstream } from "../config.ts";
import type { ClaimReply, ClaimedSlice, ReportReply, Report } from "../domain/dispatch.ts";
import { MAX_HANDED_BYTES } from "../domain/limits.ts";
import { describeLines } from "../domain/line-ranges.ts";
import { noAnswer } from "../domain/outcome.ts";
import { decideRetry, isPressure } from "../domain/retry-policy.ts";
import { logFailure } from "../log.ts";
import { sendLine } from "../upstream/send.ts";
import { PressureGate } from "./pressure-gate.ts";
import { Reporter } from "./reporter.ts";
import { type ReadyLine, readSliceLines } from "./slice-lines.ts";

export interface DispatchOrder {
  readonly token: string;
  readonly claim: Extract<ClaimReply, { kind: "run" }>;
  /** Null: no longer in the settings; its lines then count as sent to an upstream that cannot be reached. */
  readonly upstream: Upstream | null;
  /** the guest's own key, in place of the configured one. */
  readonly apiKey: string | null;
  readonly bucket: R2Bucket;
  readonly report: (report: Report) => Promise<ReportReply>;
}

export interface DispatchSummary {
  readonly completed: number;
  readonly failed: number;
  readonly givenBack: number;
  readonly exchanges: number;
  /** What it took, and which of that failed for good: `1-50,73`, counted from 1. Null: none. */
  readonly lines: string | null;
  readonly failedLines: string | null;
  readonly end: "done" | "unknown" | "gave_up";
}

/** Lets the coordinator see that the consumer lives, and the consumer that its batch was cancelled. */
const HEARTBEAT_MS = 10_000;
/** While the upstream pushes back, the dispatch window has to hear of it sooner. */
const PRESSURE_REPORT_MS = 1_000;
/** A line that may be tried again this soon waits here; others go back to the coordinator. */
const MAX_WAIT_MS = 5_000;
/** It holds the lines that it will send in this time at its present pace, and two rounds of its slots at least. */
const LOOK_AHEAD_SECONDS = 1;
/** After both of these no further slices are wanted: the platform scales consumers between invocations. */
const TAKES_LINES_FOR_MS = 45_000;
const TAKES_LINES = 100;
/** After this no line is started: a slow upstream's dispatch is worth its price by then. */
const STARTS_LINES_FOR_MS = 270_000;
/** developers.cloudflare.com/queues/platform/limits: 15 minutes, less a little to report and end. */
const MAX_INVOCATION_MS = 870_000;
/** Lines that were taken, but are not started yet, need some time. */
const LAST_LINES_MS = 30_000;

export class DispatchRun {
  readonly #order: DispatchOrder;
  readonly #batch: DispatchOrder["claim"]["batch"];
  readonly #startedAt = Date.now();
  /** With the upstream's timeout behind it, the invocation still ends in time. */
  readonly #startsUntil: number;
  readonly #reporter: Reporter;
  readonly #gate = new PressureGate();
  readonly #waiting = new Map<ReadyLine, ReturnType<typeof setTimeout>>();
  #ready: ReadyLine[] = [];
  #running = 0;
  #slots: number;
  /** `working`: takes further slices. `winding_down`: there are none. `stopped`: starts nothing more. */
  #mood: "working" | "winding_down" | "stopped" = "working";
  #event = Promise.withResolvers<void>();
  readonly #lines = new Set<number>();
  readonly #failedLines = new Set<number>();
  readonly #tally = { completed: 0, failed: 0, givenBack: 0, exchanges: 0 };

  constructor(order: DispatchOrder) {
    this.#order = order;
    this.#batch = order.claim.batch;
    this.#slots = order.claim.slots;
    const timeoutMs = (order.upstream?.timeoutSeconds ?? 0) * 1000;
    this.#startsUntil = this.#startedAt + Math.min(STARTS_LINES_FOR_MS, MAX_INVOCATION_MS - timeoutMs);
    this.#reporter = new Reporter({ batchId: this.#batch.batchId, ...order });
  }

  /** Resolves when every line it took is reported, or given back, or somebody else's. Never rejects. */
  async run(): Promise<DispatchSummary> {
    await this.#take(this.#order.claim.slices);
    for (;;) {
      this.#launch();
      if (!this.#isExchangeDue()) {
        await this.#nextEvent();
        continue;
      }
      const end = await this.#exchange();
      if (end === null) continue;
      this.#giveBackUnstarted();
      const [lines, failedLines] = [describeLines(this.#lines), describeLines(this.#failedLines)];
      return { ...this.#tally, lines, failedLines, end };
    }
  }

  /** Fills the slots. */
  #launch(): void {
    const now = Date.now();
    const isTooLate = now >= this.#startsUntil || now >= this.#batch.expiresAt.getTime();
    if (isTooLate || this.#mood === "stopped") return this.#giveBackUnstarted();
    while (this.#running < this.#slots && this.#gate.isOpen(now)) {
      const line = this.#ready.shift();
      if (line === undefined) return;
      void this.#runLine(line);
    }
  }

  async #runLine(line: ReadyLine): Promise<void> {
    this.#running += 1;
    try {
      await this.#tryLine(line);
    } catch (error) {
      // Nothing above is expected to throw. The line is not lost: it goes back, and counts as tried.
      logFailure(
        "line_failed",
        { batch: this.#batch.batchId, dispatch: this.#order.token, line: line.line + 1 },
        error,
      );
      this.#giveBack(line, line.attempts + 1, new Date(Date.now() + MAX_WAIT_MS));
    } finally {
      this.#running -= 1;
      this.#launch();
      // Under pressure the gate and the next report move, and with them the time at which the loop must wake.
      if (this.#reporter.hasPressure || this.#isExchangeDue()) this.#event.resolve();
    }
  }

  async #tryLine(line: ReadyLine): Promise<void> {
    const attempt = line.attempts + 1;
    const outcome = await this.#send(line, attempt);
    const now = new Date();
    const decision = decideRetry({ outcome, attempt, now, deadline: this.#batch.expiresAt, random: Math.random() });
    const feedback = isPressure(outcome) ? "pressure" : "fine";
    this.#reporter.noteAnswer(feedback);
    this.#gate.observe(feedback, this.#slots, now.getTime());
    if (decision.kind === "settle") {
      const result = this.#reporter.finished.add(line, outcome, now);
      this.#tally[result] += 1;
      if (result === "failed") this.#failedLines.add(line.line);
      return;
    }
    const delayMs = decision.at.getTime() - now.getTime();
    if (delayMs > MAX_WAIT_MS) this.#giveBack(line, attempt, decision.at);
    else this.#wait({ ...line, attempts: attempt }, delayMs);
  }

  async #send(line: ReadyLine, attempt: number) {
    const { upstream, apiKey } = this.#order;
    if (upstream === null) return noAnswer("upstream_unreachable");
    const requestKey = `${this.#batch.batchId}-${line.line + 1}`;
    return sendLine(upstream, { endpoint: this.#batch.endpoint, body: line.body, requestKey, attempt, apiKey });
  }

  /** The line keeps no slot while it waits. */
  #wait(line: ReadyLine, delayMs: number): void {
    const timer = setTimeout(() => {
      this.#waiting.delete(line);
      this.#ready.push(line);
      this.#launch();
      this.#event.resolve();
    }, delayMs);
    this.#waiting.set(line, timer);
  }

  #giveBack(line: Pick<ReadyLine, "line" | "sliceIndex">, attempts: number, dueAt: Date | null): void {
    this.#reporter.giveBack({ line: line.line, attempts, dueAt });
    this.#reporter.finished.releaseLine(line);
    this.#tally.givenBack += 1;
  }

  #giveBackUnstarted(): void {
    for (const timer of this.#waiting.values()) clearTimeout(timer);
    for (const line of [...this.#ready, ...this.#waiting.keys()]) this.#giveBack(line, line.attempts, null);
    this.#waiting.clear();
    this.#ready = [];
  }

  async #take(slices: readonly ClaimedSlice[]): Promise<void> {
    for (const { lines } of slices) for (const { line } of lines) this.#lines.add(line);
    this.#reporter.finished.expect(slices);
    try {
      const lines = await readSliceLines(this.#order.bucket, this.#batch.inputFileId, slices);
      if (lines !== null) {
        this.#ready.push(...lines);
        return;
      }
      this.#reporter.noteInputMissing();
      this.#giveBackSlices(slices, null);
    } catch (error) {
      this.#reporter.noteFailure("slices_not_read", error);
      this.#giveBackSlices(slices, new Date(Date.now() + MAX_WAIT_MS));
    }
  }

  #giveBackSlices(slices: readonly ClaimedSlice[], dueAt: Date | null): void {
    for (const { index, lines } of slices) {
      for (const { line, attempts } of lines) this.#giveBack({ line, sliceIndex: index }, attempts, dueAt);
    }
  }

  #isExchangeDue(): boolean {
    const now = Date.now();
    if (now < this.#reporter.restUntil) return false;
    if (this.#isIdle || this.#wantedLines() > 0) return true;
    return this.#reporter.finished.isFull || now >= this.#nextReportAt;
  }

  /** @returns how the run ends, or null when it goes on. */
  async #exchange(): Promise<DispatchSummary["end"] | null> {
    const wantedLines = this.#wantedLines();
    const isLeaving = this.#isIdle && wantedLines === 0 && !this.#reporter.hasBacklog;
    this.#tally.exchanges += 1;
    const orders = await this.#reporter.exchange({
      scope: isLeaving ? "everything" : this.#reporter.finished.scopeAt(new Date()),
      wantedLines,
      phase: isLeaving ? "leaving" : this.#phase,
    });
    if (orders === null) return this.#reporter.hasGivenUp ? "gave_up" : null;
    if (orders.kind === "unknown") return "unknown";
    if (isLeaving) return "done";
    if (orders.kind === "stop") {
      this.#mood = "stopped";
      return null;
    }
    this.#slots = orders.slots;
    if (wantedLines > 0 && orders.slices.length === 0) this.#mood = "winding_down";
    await this.#take(orders.slices);
    return null;
  }

  /** So many that the slots stay filled while the next lines are fetched, and that it fetches seldom. */
  #wantedLines(): number {
    const lookAhead = Math.max(2 * this.#slots, Math.ceil(this.#linesPerSecond * LOOK_AHEAD_SECONDS));
    const held = this.#ready.length + this.#waiting.size;
    if (!this.#isTaking || this.#reporter.isFailing || held >= lookAhead / 2) return 0;
    const heldCharacters = [...this.#ready, ...this.#waiting.keys()].reduce((sum, { body }) => sum + body.length, 0);
    return heldCharacters < MAX_HANDED_BYTES ? lookAhead - held : 0;
  }

  /** Over the whole run; less in its first second. */
  get #linesPerSecond(): number {
    const seconds = (Date.now() - this.#startedAt) / 1000;
    return (this.#tally.completed + this.#tally.failed) / Math.max(1, seconds);
  }

  get #phase(): "working" | "winding_down" {
    return this.#isTaking ? "working" : "winding_down";
  }

  get #isTaking(): boolean {
    const now = Date.now();
    const isOld = now >= this.#startedAt + TAKES_LINES_FOR_MS && this.#lines.size >= TAKES_LINES;
    return this.#mood === "working" && !isOld && now < this.#startsUntil - LAST_LINES_MS;
  }

  get #isIdle(): boolean {
    return this.#running === 0 && this.#ready.length === 0 && this.#waiting.size === 0;
  }

  get #nextReportAt(): number {
    const { lastExchangeAt, hasPressure, finished } = this.#reporter;
    const heartbeatAt = lastExchangeAt + (hasPressure ? PRESSURE_REPORT_MS : HEARTBEAT_MS);
    return Math.min(heartbeatAt, finished.dueAt?.getTime() ?? heartbeatAt);
  }

  /** A line has ended or may be tried again, or it is time for something. */
  async #nextEvent(): Promise<void> {
    const now = Date.now();
    const times = [this.#nextReportAt, this.#reporter.restUntil, this.#gate.opensAt].filter((time) => time > now);
    const timer = setTimeout(() => this.#event.resolve(), Math.min(...times, now + HEARTBEAT_MS) - now);
    await this.#event.promise;
    clearTimeout(timer);
    this.#event = Promise.withResolvers();
  }
}
