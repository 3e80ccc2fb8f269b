/** What a consumer's lines took of their upstream's budgets (rate-budget.ts) since it last said so. Pure. */
import type { Outcome } from "./outcome.ts";
import type { SeenRateLimit } from "./rate-limit.ts";

export interface Spending {
  /** Requests that were begun, first tries and others. Their answers may be counted later, or never come. */
  readonly tries: number;
  /**
   * What answers said of their cost: each 2xx with a `usage`, when it has come, stored or not. What failed, ran out of time,
   * was too large, or says no usage is not among them, whatever it may have cost.
   */
  readonly answersWithUsage: number;
  readonly tokens: number;
  /** Of the answer whose request was sent last among those that said something; null when none did. */
  readonly rateLimit: SeenRateLimit | null;
}

export const NOTHING_SPENT: Spending = { tries: 0, answersWithUsage: 0, tokens: 0, rateLimit: null };

export function spendTry(before: Spending): Spending {
  return { ...before, tries: before.tries + 1 };
}

export function spendAnswer(
  before: Spending,
  { outcome, sentAt, answeredAt }: { outcome: Outcome; sentAt: Date; answeredAt: Date },
): Spending {
  if (outcome.kind === "unanswered") return before;
  const { usage, rateLimit } = outcome;
  const seen = rateLimit === null ? null : { ...rateLimit, sentAt, answeredAt };
  return {
    ...before,
    answersWithUsage: before.answersWithUsage + (usage === null ? 0 : 1),
    tokens: before.tokens + (usage?.totalTokens ?? 0),
    rateLimit: later(before.rateLimit, seen),
  };
}

/** Of two consumers, or of two reports. */
export function joinSpending(before: Spending, more: Spending): Spending {
  return {
    tries: before.tries + more.tries,
    answersWithUsage: before.answersWithUsage + more.answersWithUsage,
    tokens: before.tokens + more.tokens,
    rateLimit: later(before.rateLimit, more.rateLimit),
  };
}

/** Without what was said meanwhile. */
export function unspend(all: Spending, said: Spending): Spending {
  return {
    tries: all.tries - said.tries,
    answersWithUsage: all.answersWithUsage - said.answersWithUsage,
    tokens: all.tokens - said.tokens,
    rateLimit: all.rateLimit === said.rateLimit ? null : all.rateLimit,
  };
}

function later(before: SeenRateLimit | null, seen: SeenRateLimit | null): SeenRateLimit | null {
  if (before === null || seen === null) return seen ?? before;
  return seen.sentAt >= before.sentAt ? seen : before;
}
