/**
 * Who works on a batch, and on what: brings together its ledger, its dispatches, its share of the upstream and what the
 * upstream bears, and asks the plan (dispatch-plan.ts). Pure: what has to survive a restart is the caller's to store.
 */
import type { AnswerCounts, ReportReply } from "./conversation.ts";
import { type Demand, mustMakeRoom, planDispatches, planGrant, planSlots } from "./dispatch-plan.ts";
import type { Dispatches, LiveDispatch } from "./dispatches.ts";
import { adjustLimit, allowedNow, type InFlightLimit, startLimit } from "./in-flight-limit.ts";
import type { Ledger } from "./ledger.ts";

export interface UpstreamRoom {
  /** What the upstream may have in flight for all batches. */
  readonly maxInFlight: number;
  /** This batch's part of it: 0 while it waits for its turn. */
  readonly shareLines: number;
  readonly linesPerInvocation: number;
}

export class Dispatching {
  readonly #ledger: Ledger;
  readonly #dispatches: Dispatches;
  /** What the batch may have of its upstream, as last heard. */
  #room: UpstreamRoom;
  /** What the upstream bears, as its answers say. In memory alone: after a restart it is found again. */
  #limit: InFlightLimit;

  constructor(ledger: Ledger, dispatches: Dispatches, room: UpstreamRoom) {
    this.#ledger = ledger;
    this.#dispatches = dispatches;
    this.#room = room;
    this.#limit = startLimit(room.maxInFlight);
  }

  setRoom(room: UpstreamRoom): void {
    this.#room = room;
  }

  observe({ answers, pressured }: AnswerCounts, now: Date): void {
    const { shareLines } = this.#room;
    this.#limit = adjustLimit(this.#limit, { answers, pressured, shareLines, now });
  }

  /** Lines that could be in flight now if there were room. */
  runnableLines(now: Date): number {
    const lines = this.#ledger.claimableLines(now.getTime()) + this.#ledger.openLines;
    return allowedNow(this.#limit, now) === 0 ? Math.min(1, lines) : lines;
  }

  /** When the upstream's pause ends, in ms; null when there is none. */
  pauseEndsAt(now: Date): number | null {
    const until = this.#limit.pausedUntil?.getTime() ?? 0;
    return until > now.getTime() ? until : null;
  }

  /** How many further dispatches to send. */
  wantedDispatches(now: Date): number {
    return planDispatches(this.#demand(now));
  }

  /** What comes after a claim. Null: there is nothing for the dispatch. */
  begin(token: string, now: Date): Extract<ReportReply, { kind: "run" }> | null {
    const reply = this.handOut(token, this.#room.linesPerInvocation, now);
    return reply.kind === "run" && reply.slices.length > 0 ? reply : null;
  }

  /** What a dispatch that works, or winds down, may do next. */
  handOut(token: string, wantedLines: number, now: Date): ReportReply {
    const demand = this.#demand(now);
    if (mustMakeRoom(demand, token, now)) this.#dispatches.windDown(token);
    const dispatch = this.#dispatches.find(token);
    if (dispatch === null) return { kind: "unknown" };
    if (dispatch.phase === "winding_down") return this.#letFinish(dispatch, demand);
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
    return { kind: "run", slots, slices, mayHaveMore };
  }

  #letFinish({ token, slots: before }: LiveDispatch, { allowedLines }: Demand): ReportReply {
    const slots = Math.min(before, Math.max(1, allowedLines));
    this.#dispatches.setSlots(token, slots);
    return { kind: "run", slots, slices: [], mayHaveMore: false };
  }

  #demand(now: Date): Demand {
    const allowedLines = Math.min(allowedNow(this.#limit, now), this.#room.shareLines);
    return {
      allowedLines,
      claimableLines: allowedLines === 0 ? 0 : this.#ledger.claimableLines(now.getTime()),
      linesPerInvocation: this.#room.linesPerInvocation,
      dispatches: this.#dispatches.states((token) => this.#ledger.openLinesOf(token)),
    };
  }
}
