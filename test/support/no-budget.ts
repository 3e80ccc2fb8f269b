import type { BudgetLoad } from "../../src/domain/grant.ts";
import type { RateLimits } from "../../src/domain/rate-budget.ts";

export const NO_LIMITS: RateLimits = { requests: null, tokens: null };

/** Of a batch that has begun nothing, and wants nothing begun. */
export const NOTHING_BEGUN: BudgetLoad = {
  begun: 0,
  freeTries: 0,
  wantedStarts: 0,
  tokensPerLine: 1,
  answersWithUsage: 0,
  tokens: 0,
  rateLimit: null,
};
