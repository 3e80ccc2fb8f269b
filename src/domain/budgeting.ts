/**
 * Who may begin how many tries, by an upstream's budgets of requests and tokens a minute (rate-budget.ts). A batch is told
 * how many it may have begun in all since it first heard of this life of the pacer, so that an answer that is lost, or
 * comes twice, allows nothing twice. Pure.
 */
import type { BudgetLoad } from "./grant.ts";
import { AMPLE } from "./rate-limit.ts";
import {
  correctTokens,
  debitLines,
  hearRateLimit,
  holdBudget,
  type RateBudget,
  type RateLimits,
  roomOf,
  startBudget,
  takeLines,
} from "./rate-budget.ts";

interface Account {
  /** Tries that the batch may have begun. */
  allowed: number;
  /** Tries that it has asked for and was not allowed yet. */
  wantedStarts: number;
  load: BudgetLoad;
}

export class Budgeting {
  #budget: RateBudget;
  readonly #accounts = new Map<string, Account>();

  constructor(limits: RateLimits, memory: RateBudget | null, now: Date) {
    this.#budget = memory ?? startBudget(limits, now.getTime());
  }

  get memory(): RateBudget {
    return this.#budget;
  }

  /**
   * @param isNew the batch goes by no grant of this life: whatever it was allowed, it does not know, and what it has begun
   * counts from a time of which this life knows nothing.
   */
  hear(
    batchId: string,
    load: BudgetLoad,
    { isNew, limits, now }: { readonly isNew: boolean; readonly limits: RateLimits; readonly now: Date },
  ): void {
    const before = isNew ? undefined : this.#accounts.get(batchId);
    const begun = isNew ? 0 : load.begun;
    const { tokensPerLine, answersWithUsage, tokens: used, rateLimit, wantedStarts, freeTries } = load;
    // While it could not reach the pacer it has begun some unasked (last-grant.ts).
    const unasked = freeTries + (before === undefined ? 0 : Math.max(0, begun - before.allowed));
    this.#budget = debitLines(this.#budget, limits, { lines: unasked, tokensPerLine, now: now.getTime() });
    this.#accounts.set(batchId, { allowed: Math.max(before?.allowed ?? 0, begun), wantedStarts, load });
    const cost = { reserved: answersWithUsage * tokensPerLine, used };
    if (answersWithUsage > 0) this.#budget = correctTokens(this.#budget, limits, cost);
    if (rateLimit !== null) this.#budget = hearRateLimit(this.#budget, rateLimit);
  }

  /** The upstream has asked for patience. */
  hold(until: Date): void {
    this.#budget = holdBudget(this.#budget, until);
  }

  forget(batchId: string): void {
    this.#accounts.delete(batchId);
  }

  /** Lets the batch begin further tries as far as the budgets allow. @param linesInFlight of all batches, at most. */
  allow(
    batchId: string,
    { limits, linesInFlight, now }: { limits: RateLimits; linesInFlight: number; now: Date },
  ): void {
    const account = this.#accounts.get(batchId);
    if (account === undefined || !this.#isBinding(account, limits, { linesInFlight, now })) return;
    const { wantedStarts: lines } = account;
    const { tokensPerLine } = account.load;
    const taken = takeLines(this.#budget, limits, { taker: batchId, lines, tokensPerLine, now: now.getTime() });
    this.#budget = taken.budget;
    account.allowed += taken.lines;
    account.wantedStarts -= taken.lines;
  }

  /** Tries that it may have begun in all; null: as many as it likes. */
  allowedTo(batchId: string, context: { limits: RateLimits; linesInFlight: number; now: Date }): number | null {
    const account = this.#accounts.get(batchId);
    if (account === undefined) return null;
    return this.#isBinding(account, context.limits, context) ? account.allowed : null;
  }

  #isBinding(
    { load }: Account,
    limits: RateLimits,
    { linesInFlight, now }: { readonly linesInFlight: number; readonly now: Date },
  ): boolean {
    if (limits.requests !== null || limits.tokens !== null) return true;
    const { requests, tokens } = this.#budget.quotas;
    if (requests === null && tokens === null) return false;
    const room = roomOf(this.#budget, limits, now.getTime());
    return Math.min(room.requests, room.tokens / load.tokensPerLine) < AMPLE * linesInFlight;
  }
}
