/**
 * Who works on a batch, and on what: brings together its ledger, its dispatches, its share of the upstream, what the upstream
 * bears and whether it is paused, and asks the plan (dispatch-plan.ts). Pure: what has to survive a restart is the caller's
 * to store.
 */
import { isStumbleFinal, type Pause } from "./breaker.ts";
import type { Report, ReportReply } from "./conversation.ts";
import { type Demand, mustMakeRoom, planDispatches, planGrant, planSlots } from "./dispatch-plan.ts";
import type { Dispatches, LiveDispatch } from "./dispatches.ts";
import type { Ledger } from "./ledger.ts";
import type { UpstreamStanding } from "./retry-policy.ts";
import type { ClaimedSlice } from "./slices.ts";

/** What one batch may have of the deployment's consumers. */
export interface ConsumerLimits {
  readonly linesPerInvocation: number;
  readonly mostDispatches: number;
}

/** What the batch may have of its upstream, as its pacer has said last (grant.ts). */
export interface UpstreamRoom extends ConsumerLimits {
  /** Lines that may be in flight: 0 while it waits for its turn, in a pause 1 when it may probe. */
  readonly lines: number;
  readonly pause: Pause | null;
  /** When a line of any batch was last answered well, in ms. */
  readonly servedAt: number | null;
  /** Other batches wait for lines that this one has. */
  readonly isRoomWanted: boolean;
  /** Tries that may have been begun in all, by the upstream's budgets; null: as many as one likes. */
  readonly mayHaveBegun: number | null;
}

/** The part of a report that says what was answered, and what is still in flight. */
type AnswersReport = Pick<Report, "token" | "heard" | "inFlight" | "waiting" | "wantedStarts">;

/** A batch with more lines than this left is not at its tail. */
const MAX_TAIL_LINES = 100;

type RunReply = Extract<ReportReply, { kind: "run" }>;

export class Dispatching {
  readonly #ledger: Ledger;
  readonly #dispatches: Dispatches;
  #room: UpstreamRoom;
  /** When a line of the batch was last answered well, in ms. In memory alone. */
  #servedAt: number | null = null;
  /** Some line of the batch was answered with success. */
  #hasServed: boolean;
  /** Tries that consumers were let begin. In memory alone. */
  #begun = 0;

  constructor(
    lines: { readonly ledger: Ledger; readonly dispatches: Dispatches },
    room: UpstreamRoom,
    known: { readonly hasServed: boolean },
  ) {
    this.#ledger = lines.ledger;
    this.#dispatches = lines.dispatches;
    this.#room = room;
    this.#hasServed = known.hasServed;
  }

  get room(): UpstreamRoom {
    return this.#room;
  }

  setRoom(room: UpstreamRoom): void {
    this.#room = room;
  }

  get begun(): number {
    return this.#begun;
  }

  /** Tries that its consumers would begin now, beyond those that they may. */
  wantedStarts(now: Date): number {
    const wanted = this.#dispatches.wantedStarts;
    if (wanted !== null) return Math.max(0, wanted - this.#startsLeft);
    // Nobody is at work: the first one is to find something.
    return this.#startsLeft < 1 ? Math.min(1, this.#ledger.claimableLines(now.getTime())) : 0;
  }

  observe({ token, heard, inFlight, waiting, wantedStarts }: AnswersReport, now: Date): void {
    this.#dispatches.noteWantedStarts(token, wantedStarts);
    if (inFlight !== undefined && waiting !== undefined) {
      this.#dispatches.noteLines(token, inFlight, inFlight + waiting);
    }
    if (heard.fine > 0) this.#servedAt = now.getTime();
    if (heard.succeeded > 0) this.#hasServed = true;
  }

  /** Slices that were granted in an answer that the consumer never heard are there for others. */
  takeBackUnknown({ token, holds }: Pick<Report, "token" | "holds">): void {
    if (holds === undefined || !this.#dispatches.noteExchange(token, holds.exchange)) return;
    this.#ledger.release(token, holds.slices);
  }

  /** Lines that could be in flight now if there were room. */
  runnableLines(now: Date): number {
    return (
      this.#ledger.claimableLines(now.getTime()) + this.#dispatches.unfinishedLines(this.#ledger.openLinesByToken())
    );
  }

  /** No more lines are in flight. */
  get heldLines(): number {
    return this.#states().reduce((lines, { heldLines }) => lines + heldLines, 0);
  }

  /** How many further dispatches to send. */
  wantedDispatches(now: Date): number {
    // A probe that may not begin is none.
    if (this.#room.pause !== null && this.#startsLeft < 1) return 0;
    return planDispatches(this.#demand(now));
  }

  /** What comes after a claim. Null: there is nothing for the dispatch. */
  begin(token: string, now: Date): RunReply | null {
    if (this.#room.pause !== null) return this.#beginProbe(token, now);
    const reply = this.handOut(token, this.#room.linesPerInvocation, now);
    if (reply.kind !== "run") return null;
    return reply.slices.length > 0 ? reply : this.#handOutAlone(token, now);
  }

  /**
   * What comes after a claim by a consumer that works for other dispatches, too. Null: there is nothing that may share a
   * consumer, as neither a probe may nor a line that must run alone.
   */
  beginNext(
    slots: number,
    makeToken: () => string,
    now: Date,
  ): { readonly token: string; readonly reply: RunReply } | null {
    if (this.#room.pause !== null) return null;
    const [sent = null] = this.#dispatches.sentTokens();
    if (sent === null && this.wantedDispatches(now) === 0) return null;
    const token = sent ?? makeToken();
    if (sent === null) this.#dispatches.send(token, now);
    const before = this.#dispatches.find(token);
    this.#dispatches.claim(token, now);
    this.#dispatches.limitSlots(token, slots);
    const reply = this.handOut(token, slots, now);
    if (reply.kind === "run" && reply.slices.length > 0) return { token, reply };
    this.#dispatches.drop(token);
    if (sent !== null && before !== null) this.#dispatches.restore(before);
    return null;
  }

  /** What a dispatch that works, or winds down, may do next. */
  handOut(token: string, wantedLines: number, now: Date): ReportReply {
    const demand = this.#demand(now);
    if (this.#room.pause !== null) {
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
    return this.#run(token, { slots, slices, mayHaveMore }, now);
  }

  /** One line, to find out whether the upstream is back. */
  #beginProbe(token: string, now: Date): RunReply | null {
    return this.#room.lines > this.heldLines ? this.#handOutAlone(token, now) : null;
  }

  /** One line and no other. */
  #handOutAlone(token: string, now: Date): RunReply | null {
    if (this.#startsLeft < 1) return null;
    const slices = this.#ledger.handOutOne(token, now.getTime());
    if (slices.length === 0) return null;
    this.#dispatches.setSlots(token, 1);
    this.#dispatches.windDown(token);
    // Its consumer takes on nothing else.
    return { ...this.#run(token, { slots: 1, slices, mayHaveMore: false }, now), isRoomWanted: false };
  }

  #letFinish({ token, slots: before, mostSlots }: LiveDispatch, demand: Demand, now: Date): ReportReply {
    const { allowedLines, linesPerInvocation, dispatches } = demand;
    const held = dispatches.reduce((lines, one) => lines + one.heldLines, 0);
    const own = dispatches.find((one) => one.token === token)?.heldLines ?? 0;
    const most = Math.min(linesPerInvocation, mostSlots);
    // Nobody but it can run what it has: it takes what the others leave.
    const slots = Math.min(most, Math.max(Math.min(before, Math.max(1, allowedLines)), own + allowedLines - held));
    this.#dispatches.setSlots(token, slots);
    return this.#run(token, { slots, slices: [], mayHaveMore: false }, now);
  }

  #run(
    token: string,
    given: { readonly slots: number; readonly slices: readonly ClaimedSlice[]; readonly mayHaveMore: boolean },
    now: Date,
  ): RunReply {
    const { isRoomWanted, mayHaveBegun } = this.#room;
    const count = given.slices.reduce((sum, { lines }) => sum + lines.length, 0);
    this.#dispatches.addLines(token, count);
    const starts = mayHaveBegun === null ? null : this.#startsFor(token, given.slots);
    this.#begun += starts ?? 0;
    return { kind: "run", ...given, standing: this.#standing(now), isRoomWanted, starts };
  }

  /** No more than it would begin, and has lines for. */
  #startsFor(token: string, slots: number): number {
    const dispatch = this.#dispatches.find(token);
    if (dispatch === null) return 0;
    const { wantedStarts, lines, inFlight } = dispatch;
    return Math.min(wantedStarts ?? slots, lines - inFlight, this.#startsLeft);
  }

  #standing(now: Date): UpstreamStanding {
    const { pause, servedAt } = this.#room;
    const latest = Math.max(this.#servedAt ?? 0, servedAt ?? 0);
    return {
      servedAt: latest === 0 ? null : latest,
      hasServed: this.#hasServed,
      isProbe: pause !== null,
      isTail: isTail(this.#ledger),
      isStumbleFinal: isStumbleFinal(pause, now),
    };
  }

  #demand(now: Date): Demand {
    const { lines: allowedLines, linesPerInvocation, mostDispatches } = this.#room;
    return {
      allowedLines,
      claimableLines: allowedLines === 0 ? 0 : this.#ledger.claimableLines(now.getTime()),
      linesPerInvocation,
      mostDispatches,
      dispatches: this.#states(),
    };
  }

  get #startsLeft(): number {
    const { mayHaveBegun } = this.#room;
    return mayHaveBegun === null ? Infinity : Math.max(0, mayHaveBegun - this.#begun);
  }

  #states(): Demand["dispatches"] {
    return this.#dispatches.states(this.#ledger.openLinesByToken());
  }
}

/** Only lines are left that have failed while others were served. */
function isTail(ledger: Ledger): boolean {
  if (ledger.unsettledLines === 0 || ledger.unsettledLines > MAX_TAIL_LINES) return false;
  const left = ledger.unsettledSlices().flatMap(({ lines }) => lines);
  return left.every(({ history }) => (history?.spent ?? 0) > 0);
}
