/**
 * Who works on a batch, and on what: brings together its ledger, its dispatches, its share of the upstream, what the upstream
 * bears and whether it is paused, and asks the plan (dispatch-plan.ts). Pure: what has to survive a restart is the caller's
 * to store.
 */
import {
  type Breaker,
  CLOSED,
  isProbeDue,
  isStumbleFinal,
  NOTHING_HEARD,
  observeAnswers,
  type Pause,
} from "./breaker.ts";
import type { Report, ReportReply } from "./conversation.ts";
import { type Demand, mustMakeRoom, planDispatches, planGrant, planSlots } from "./dispatch-plan.ts";
import type { Dispatches, LiveDispatch } from "./dispatches.ts";
import { adjustLimit, allowedBy, type InFlightLimit, restartLimit, startLimit } from "./in-flight-limit.ts";
import type { Ledger } from "./ledger.ts";
import type { UpstreamStanding } from "./retry-policy.ts";
import type { ClaimedSlice } from "./slices.ts";

export interface UpstreamRoom {
  /** What the upstream may have in flight for all batches. */
  readonly maxInFlight: number;
  /** This batch's part of it: 0 while it waits for its turn. */
  readonly shareLines: number;
  readonly linesPerInvocation: number;
}

/** What the answers to a report's lines say: the part of a report that this module needs. */
export type AnswersReport = Pick<Report, "answers" | "pressured" | "heard">;

/** A batch with more lines than this left is not at its tail. */
const MAX_TAIL_LINES = 100;

type RunReply = Extract<ReportReply, { kind: "run" }>;

export class Dispatching {
  readonly #ledger: Ledger;
  readonly #dispatches: Dispatches;
  /** What the batch may have of its upstream, as last heard. */
  #room: UpstreamRoom;
  /** What the upstream bears, as its answers say. In memory alone: after a restart it is found again. */
  #limit: InFlightLimit;
  #breaker: Breaker;
  /** When a line was last answered well, in ms. In memory alone. */
  #servedAt: number | null = null;
  /** Some line was answered with success. */
  #hasServed: boolean;

  constructor(
    lines: { readonly ledger: Ledger; readonly dispatches: Dispatches },
    room: UpstreamRoom,
    known: { readonly pause: Pause | null; readonly hasServed: boolean },
  ) {
    this.#ledger = lines.ledger;
    this.#dispatches = lines.dispatches;
    this.#room = room;
    this.#limit = known.pause === null ? startLimit(room.maxInFlight) : restartLimit(startLimit(room.maxInFlight));
    this.#breaker = { ...CLOSED, pause: known.pause };
    this.#hasServed = known.hasServed;
  }

  get pause(): Pause | null {
    return this.#breaker.pause;
  }

  setRoom(room: UpstreamRoom): void {
    this.#room = room;
  }

  observe({ answers, pressured, heard }: AnswersReport, now: Date): void {
    const told = heard ?? {
      ...NOTHING_HEARD,
      fine: answers - pressured,
      busy: pressured,
      succeeded: answers - pressured,
    };
    if (told.fine > 0) this.#servedAt = now.getTime();
    if (told.succeeded > 0) this.#hasServed = true;
    const before = this.pause;
    const linesInFlight = Math.min(this.#allowedLines(now), this.#ledger.unsettledLines);
    this.#breaker = observeAnswers(this.#breaker, told, { linesInFlight, hasServed: this.#hasServed, now });
    if (before === null && this.pause !== null) this.#limit = restartLimit(this.#limit);
    if (this.pause !== null || answers === 0) return;
    this.#limit = adjustLimit(this.#limit, { answers, pressured, shareLines: this.#room.shareLines });
  }

  /** Slices that were granted in an answer that the consumer never heard are there for others. */
  takeBackUnknown({ token, holds }: Pick<Report, "token" | "holds">): void {
    if (holds === undefined || !this.#dispatches.noteExchange(token, holds.exchange)) return;
    this.#ledger.release(token, holds.slices);
  }

  /** Lines that could be in flight now if there were room. */
  runnableLines(now: Date): number {
    const lines = this.#ledger.claimableLines(now.getTime()) + this.#ledger.openLines;
    return this.pause === null ? lines : Math.min(1, lines);
  }

  /** When the next probe may be sent, in ms; null when the upstream is not paused, or one may be sent already. */
  probeDueAt(now: Date): number | null {
    return this.pause === null || isProbeDue(this.pause, now) ? null : this.pause.probeAt;
  }

  /** How many further dispatches to send. */
  wantedDispatches(now: Date): number {
    return planDispatches(this.#demand(now));
  }

  /** What comes after a claim. Null: there is nothing for the dispatch. */
  begin(token: string, now: Date): RunReply | null {
    if (this.pause !== null) return this.#beginProbe(token, this.pause, now);
    const reply = this.handOut(token, this.#room.linesPerInvocation, now);
    if (reply.kind !== "run") return null;
    return reply.slices.length > 0 ? reply : this.#handOutAlone(token, now);
  }

  /** What a dispatch that works, or winds down, may do next. */
  handOut(token: string, wantedLines: number, now: Date): ReportReply {
    const demand = this.#demand(now);
    if (this.pause !== null) {
      this.#dispatches.windDown(token);
      return { kind: "stop" };
    }
    if (mustMakeRoom(demand, token, now)) this.#dispatches.windDown(token);
    const dispatch = this.#dispatches.find(token);
    if (dispatch === null) return { kind: "unknown" };
    if (dispatch.phase === "winding_down") return this.#letFinish(dispatch, demand, now);
    const slots = planSlots(demand, token);
    this.#dispatches.setSlots(token, slots);
    if (slots === 0) {
      this.#dispatches.windDown(token);
      return { kind: "stop" };
    }
    const granted = planGrant(demand, slots, wantedLines);
    const slices = granted === 0 ? [] : this.#ledger.handOut(token, granted, now.getTime());
    const mayHaveMore = wantedLines === 0 || slices.length > 0;
    if (!mayHaveMore) this.#dispatches.windDown(token);
    return this.#run({ slots, slices, mayHaveMore }, now);
  }

  /** One line, to find out whether the upstream is back. */
  #beginProbe(token: string, pause: Pause, now: Date): RunReply | null {
    return isProbeDue(pause, now) ? this.#handOutAlone(token, now) : null;
  }

  /** One line and no other. */
  #handOutAlone(token: string, now: Date): RunReply | null {
    const slices = this.#ledger.handOutOne(token, now.getTime());
    if (slices.length === 0) return null;
    this.#dispatches.setSlots(token, 1);
    this.#dispatches.windDown(token);
    return this.#run({ slots: 1, slices, mayHaveMore: false }, now);
  }

  #letFinish({ token, slots: before }: LiveDispatch, { allowedLines }: Demand, now: Date): ReportReply {
    const slots = Math.min(before, Math.max(1, allowedLines));
    this.#dispatches.setSlots(token, slots);
    return this.#run({ slots, slices: [], mayHaveMore: false }, now);
  }

  #run(
    given: { readonly slots: number; readonly slices: readonly ClaimedSlice[]; readonly mayHaveMore: boolean },
    now: Date,
  ): RunReply {
    return { kind: "run", ...given, standing: this.#standing(now) };
  }

  #standing(now: Date): UpstreamStanding {
    return {
      servedAt: this.#servedAt,
      hasServed: this.#hasServed,
      isProbe: this.pause !== null,
      isTail: isTail(this.#ledger),
      isStumbleFinal: isStumbleFinal(this.pause, now),
    };
  }

  #demand(now: Date): Demand {
    const allowedLines = this.#allowedLines(now);
    return {
      allowedLines,
      claimableLines: allowedLines === 0 ? 0 : this.#ledger.claimableLines(now.getTime()),
      linesPerInvocation: this.#room.linesPerInvocation,
      dispatches: this.#dispatches.states((token) => this.#ledger.openLinesOf(token)),
    };
  }

  /** In a pause none, or the one that probes. */
  #allowedLines(now: Date): number {
    const { shareLines } = this.#room;
    if (this.pause !== null) return isProbeDue(this.pause, now) ? Math.min(1, shareLines) : 0;
    return Math.min(allowedBy(this.#limit), shareLines);
  }
}

/** Only lines are left that have failed while others were served. */
function isTail(ledger: Ledger): boolean {
  if (ledger.unsettledLines === 0 || ledger.unsettledLines > MAX_TAIL_LINES) return false;
  const left = ledger.unsettledSlices().flatMap(({ lines }) => lines);
  return left.every(({ history }) => (history?.spent ?? 0) > 0);
}
