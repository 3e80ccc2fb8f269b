/**
 * What is said between a batch's coordinator and the pacer of its upstream: flat values that cross the RPC boundary.
 *
 *   coordinator                                                       pacer
 *       │── statement: lines wanted, lines held, answers heard ────────▶│   when something has changed, and now and then
 *       │◀── grant: lines that may be in flight, the upstream's pause ──│
 *       │                        …                                      │
 *       │◀── grant ─────────────────────────────────────────────────────│   when the share of a batch has changed
 *       │── statement ─────────────────────────────────────────────────▶│
 *
 * Both may be asked again: a grant says what holds now, not what is added. Whoever is restarted learns the rest from
 * the other. No I/O.
 */
import type { AnswersHeard, Pause } from "./breaker.ts";
import type { SeenRateLimit } from "./rate-limit.ts";

/** One grant of one pacer. A pacer that was restarted begins another life and counts anew. */
export interface GrantNumber {
  readonly life: string;
  readonly number: number;
}

export interface Grant extends GrantNumber {
  /** Lines of the batch that may be in flight; 0 while it waits for its turn. In a pause 1: the line that probes. */
  readonly lines: number;
  /** Why nothing is sent to the upstream now but what probes; null: it is not paused. */
  readonly pause: Pause | null;
  /** When any line of any batch was last answered well, in ms; null when none was, as far as is known. */
  readonly servedAt: number | null;
  /**
   * Tries that the batch may have begun in all since it first heard of this life of its pacer, by the upstream's budgets;
   * null: as many as it likes.
   */
  readonly mayHaveBegun: number | null;
  /** Other batches wait for lines that this one has. */
  readonly isRoomWanted: boolean;
  /** The coordinator need not say more often than this that nothing has changed. */
  readonly tellEveryMs: number;
}

/** What a batch wants of its upstream, and has. */
export interface BatchLoad {
  /** Lines without a result. */
  readonly unsettledLines: number;
  /** Of these, what could be in flight now if there were room: not those that wait to be tried again. */
  readonly runnableLines: number;
  /** No more than this are in flight now, or than the grant has lines. */
  readonly heldLines: number;
  /** Nothing of the batch is in flight, and nothing will be. */
  readonly isOver: boolean;
}

/** What a batch has taken of its upstream's budgets, and would take. */
export interface BudgetLoad {
  /** Tries begun since it first heard of this life of its pacer. */
  readonly begun: number;
  /** Tries begun since the statement before while no budget was known: nobody has allowed them. */
  readonly freeTries: number;
  /** Tries that it would begin now beyond those that it may. */
  readonly wantedStarts: number;
  /** What a line is expected to cost (token-estimate.ts). */
  readonly tokensPerLine: number;
  /** Since the statement before: what answers cost, and what they say of the upstream's own limits. */
  readonly answersWithUsage: number;
  readonly tokens: number;
  readonly rateLimit: SeenRateLimit | null;
}

export interface Statement extends BatchLoad {
  readonly batchId: string;
  /** Grows with each statement of the batch, over restarts too: what was said before may arrive after. */
  readonly number: number;
  /** The grant that it goes by, made smaller where it cannot use so much; null: none yet. */
  readonly grant: (GrantNumber & { readonly lines: number }) | null;
  /** Answers since the statement before. */
  readonly heard: AnswersHeard;
  readonly budget: BudgetLoad;
}

/** What coordinators may ask of a pacer. */
export interface Pacer {
  tell(statement: Statement): Promise<Grant>;
  /** For a consumer with idle slots: a batch that may have more in flight than it has. Null: there is none now. */
  findWork(slots: number): Promise<string | null>;
}
