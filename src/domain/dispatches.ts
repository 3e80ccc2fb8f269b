/**
 * The dispatches of one batch and their leases. Pure: what has to survive a restart is the caller's to store.
 *
 *   planned ──▶ sent ──▶ working ──▶ winding_down ──▶ gone
 *                │          │             │            ▲
 *                └──────────┴─────────────┴────────────┘
 *
 *   planned → sent            a message was put into the queue, under a new token
 *   sent → working            a consumer has claimed the token
 *   working → winding_down    it says that it takes no more, or there is nothing more for it
 *   winding_down → gone       it has made its last report
 *   any → gone                its lease has lapsed, it was never sent, the queue gave up on it, or the batch ends
 *
 * A lease is renewed by every call under its token. When it lapses the lines are taken back, and the token means nothing
 * any more. Leases are kept in memory alone: after a restart every dispatch has a fresh one.
 */
import { doublingPause } from "./backoff.ts";
import { type DispatchPhase, LEASE_MS } from "./conversation.ts";
import type { DispatchState } from "./dispatch-plan.ts";

/** A dispatch that nobody claims is given up after this; after several in a row the next ones have longer. */
const UNCLAIMED_MS = 30_000;
const MAX_UNCLAIMED_MS = 600_000;
/** The clocks of coordinator and queue may differ by this, the time that sending takes included. */
const CLOCK_SLACK_MS = 5_000;
/** Whatever the queue says, a dispatch that nobody has claimed is given up after this. */
const MAX_QUEUED_MS = 3_600_000;

/** A dispatch as it is stored. */
export interface StoredDispatch {
  readonly token: string;
  readonly phase: Extract<DispatchPhase, "sent" | "working">;
}

export interface LiveDispatch {
  readonly token: string;
  readonly phase: DispatchState["phase"];
  /** When it was sent, or claimed, in ms. */
  readonly since: number;
  /** When its lease lapses, in ms. */
  readonly leaseUntil: number;
  /** Lines that it was last told it may have in flight. */
  readonly slots: number;
  /** It shares its consumer with other dispatches, and may not have more lines in flight than this. In memory alone. */
  readonly mostSlots: number;
  /** Lines that it had in flight when it last reported, and those with the ones that it had or was given then. */
  readonly inFlight: number;
  readonly lines: number;
  /** Tries that it would begin at once beyond those that it may, as it last said; null: it has not said. */
  readonly wantedStarts: number | null;
  /** Number of its latest report; 0: none since it was claimed, or since the restart. */
  readonly exchange: number;
}

export class Dispatches {
  /** By token, in the order in which they were sent. */
  readonly #live = new Map<string, LiveDispatch>();
  /** How often in a row dispatches lapsed before anybody claimed one: the queue delivers slowly, or not at all. */
  #unclaimedInARow = 0;
  /** The most consumers that have worked at once since there was no dispatch at all. */
  #hadAtOnce: number;

  /** @param slots what a dispatch that was at work before the restart may have in flight until it is told anew. */
  constructor(stored: readonly StoredDispatch[], slots: number, now: Date) {
    const since = now.getTime();
    for (const { token, phase } of stored) {
      this.#set({
        token,
        phase,
        since,
        leaseUntil: since + LEASE_MS,
        slots: phase === "sent" ? 0 : slots,
        mostSlots: Infinity,
        inFlight: 0,
        lines: Infinity,
        wantedStarts: null,
        exchange: 0,
      });
    }
    this.#hadAtOnce = this.#consumers;
  }

  get size(): number {
    return this.#live.size;
  }

  /** The most consumers that have worked at once. Begins anew when none is there: the platform may take them away. */
  get hadAtOnce(): number {
    return this.#hadAtOnce;
  }

  find(token: string): LiveDispatch | null {
    return this.#live.get(token) ?? null;
  }

  /** It is about to be put into the queue. */
  send(token: string, now: Date): void {
    if (this.#live.size === 0) this.#hadAtOnce = 0;
    const since = now.getTime();
    const patience = doublingPause(UNCLAIMED_MS, MAX_UNCLAIMED_MS, this.#unclaimedInARow);
    const none = { slots: 0, mostSlots: Infinity, inFlight: 0, lines: 0, wantedStarts: null, exchange: 0 };
    this.#set({ token, phase: "sent", since, leaseUntil: since + patience, ...none });
  }

  /** A consumer asks for it. @returns false when it is not in the queue any more: a token counts once. */
  claim(token: string, now: Date): boolean {
    const dispatch = this.#live.get(token);
    if (dispatch?.phase !== "sent") return false;
    this.#unclaimedInARow = 0;
    const since = now.getTime();
    this.#set({ ...dispatch, phase: "working", since, leaseUntil: since + LEASE_MS });
    this.#hadAtOnce = Math.max(this.#hadAtOnce, this.#consumers);
    return true;
  }

  renew(token: string, now: Date): void {
    this.#change(token, { leaseUntil: now.getTime() + LEASE_MS });
  }

  windDown(token: string): void {
    this.#change(token, { phase: "winding_down" });
  }

  /** @returns false when a later report of the dispatch, or this one, has been heard before. */
  noteExchange(token: string, exchange: number): boolean {
    if (exchange <= (this.#live.get(token)?.exchange ?? 0)) return false;
    this.#change(token, { exchange });
    return true;
  }

  /** @param lines that it has, in flight or not. */
  noteLines(token: string, inFlight: number, lines: number): void {
    this.#change(token, { inFlight, lines });
  }

  noteWantedStarts(token: string, wantedStarts: number): void {
    this.#change(token, { wantedStarts });
  }

  /** Of all that have said it; null: nobody is at work. */
  get wantedStarts(): number | null {
    if (this.#consumers === 0) return null;
    return [...this.#live.values()].reduce((sum, { wantedStarts }) => sum + (wantedStarts ?? 0), 0);
  }

  /** It is given further lines. */
  addLines(token: string, count: number): void {
    this.#change(token, { lines: (this.#live.get(token)?.lines ?? 0) + count });
  }

  setSlots(token: string, slots: number): void {
    this.#change(token, { slots });
  }

  /** What its consumer can spare for it. */
  limitSlots(token: string, mostSlots: number): void {
    this.#change(token, { mostSlots });
  }

  /** There was nothing for the consumer that claimed it: it is where it was. */
  restore(before: LiveDispatch): void {
    this.#set(before);
  }

  drop(token: string): void {
    this.#live.delete(token);
  }

  /** In the queue, and their lease is over. */
  findOverdue(now: Date): readonly LiveDispatch[] {
    return [...this.#live.values()].filter(({ phase, leaseUntil }) => phase === "sent" && leaseUntil <= now.getTime());
  }

  /**
   * Gives those that are overdue more time when they may still be in the queue, because it has a message that is as old:
   * what is sent again would wait at its end.
   * @param oldestFor when the oldest message was sent that nobody has acknowledged, in the queue of a token; null: there is
   * none.
   */
  awaitQueue(oldestFor: (token: string) => Date | null, now: Date): void {
    for (const { token, since } of this.findOverdue(now)) {
      const oldest = oldestFor(token);
      if (oldest === null) continue;
      const mayBeThere = oldest.getTime() <= since + CLOCK_SLACK_MS && now.getTime() < since + MAX_QUEUED_MS;
      if (mayBeThere) this.#change(token, { leaseUntil: now.getTime() + UNCLAIMED_MS });
    }
  }

  /** Tokens whose lease is over. They are the caller's to drop. */
  findLapsed(now: Date): readonly string[] {
    const lapsed = [...this.#live.values()].filter(({ leaseUntil }) => leaseUntil <= now.getTime());
    if (lapsed.some(({ phase }) => phase === "sent")) this.#unclaimedInARow += 1;
    return lapsed.map(({ token }) => token);
  }

  /** In the queue, and claimed by nobody yet. */
  sentTokens(): readonly string[] {
    return [...this.#live.values()].filter(({ phase }) => phase === "sent").map(({ token }) => token);
  }

  tokens(): readonly string[] {
    return [...this.#live.keys()];
  }

  /** When the first lease lapses, in ms; null when there is none. */
  get nextLapseAt(): number | null {
    const times = [...this.#live.values()].map(({ leaseUntil }) => leaseUntil);
    return times.length === 0 ? null : Math.min(...times);
  }

  /**
   * Lines that dispatches have and that are not finished: results that a consumer has not stored yet keep their lines open,
   * and no slot busy. @param openLines lines that are with each token.
   */
  unfinishedLines(openLines: ReadonlyMap<string, number>): number {
    return [...openLines].reduce((sum, [token, open]) => sum + Math.min(open, this.#live.get(token)?.lines ?? open), 0);
  }

  /** For the plan. @param openLines lines that are with each token. */
  states(openLines: ReadonlyMap<string, number>): readonly DispatchState[] {
    return [...this.#live.values()].map(({ token, phase, since, slots, mostSlots, inFlight, lines }) => ({
      token,
      phase,
      mostSlots,
      since: new Date(since),
      heldLines: phase === "sent" ? 0 : Math.min(openLines.get(token) ?? 0, lines, Math.max(slots, inFlight)),
    }));
  }

  /** Dispatches that a consumer has. */
  get #consumers(): number {
    return this.#live.size - this.sentTokens().length;
  }

  #change(token: string, change: Partial<LiveDispatch>): void {
    const dispatch = this.#live.get(token);
    if (dispatch !== undefined) this.#set({ ...dispatch, ...change });
  }

  #set(dispatch: LiveDispatch): void {
    this.#live.set(dispatch.token, dispatch);
  }
}
