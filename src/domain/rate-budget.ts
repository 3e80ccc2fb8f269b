/**
 * How many lines may be started on an upstream now, by its budgets: so many requests and so many tokens a minute. Pure;
 * the state is plain data that can be stored as JSON. Why this way: docs/decisions/rate-budgets.md.
 *
 * A line may start when each of these has room for it:
 *
 *   bucket   fills at the rate of the limit and holds two seconds of it: starts are spread over the minute
 *   window   what was started within the last minute, at most 5 % above the limit: what the bucket cannot promise by
 *            itself for small limits and large lines
 *   quota    what the upstream's last answer said of its own limit, where it said something
 *
 * Tokens are reserved by an estimate when a line starts; `correctTokens` puts what its answer cost in its place.
 * The promise is about the moments at which lines are allowed. Where they start later, by a time that varies by a second,
 * 1.7 % more can fall into one minute.
 */
import { quotaAt, quotaReaches, type QuotaLevel, readQuota, spendQuota } from "./quota-level.ts";
import type { RateLimit, SeenRateLimit } from "./rate-limit.ts";
import {
  addStarts,
  type Amounts,
  type Kind,
  MINUTE_MS,
  type RateWindow,
  removeStarts,
  replaceReserved,
  sumFallsTo,
  sumStarts,
} from "./rate-window.ts";

/** Of each kind a minute; null: as many as one likes. */
export type RateLimits = Readonly<Record<Kind, number | null>>;

/** All times in ms. */
export interface RateBudget {
  /** When the buckets were last filled. */
  readonly filledAt: number;
  /** What the buckets hold; below 0 when more was started than they held. */
  readonly buckets: Amounts;
  readonly window: RateWindow;
  readonly quotas: Readonly<Record<Kind, QuotaLevel | null>>;
  /**
   * Who asked first of those whose next line had too many tokens. Until that line has started, or has had its chance,
   * nobody else gets anything: smaller lines would always be there before it.
   */
  readonly turn: { readonly taker: string; readonly tokens: number; readonly until: number } | null;
  /** Nothing starts before it, because the upstream asked for that. */
  readonly heldUntil: number;
}

export interface Lines {
  readonly lines: number;
  /** What each of them is expected to cost (token-estimate.ts). */
  readonly tokensPerLine: number;
}

/** A taker, such as a batch by its id, that would start a line of this size now. */
export interface Ask {
  readonly taker: string;
  readonly tokensPerLine: number;
  readonly now: number;
}

const BUCKET_MINUTES = 1 / 30;
const MAX_OF_LIMIT = 1.05;
/** Who has the turn and asks no more loses it this long after the line would have fitted. */
const TURN_MS = 3000;
/** Sums of fractions may miss a whole number by less than this. */
const ROUNDING = 1e-6;

/**
 * A budget of whose last minute nothing is known: another one may have spent it evenly until now. So the buckets begin
 * not only empty, but less by what that one's may have let through at once. Store the budget before what it allows is
 * handed out, and it goes on where it was. A line of more tokens than a bucket holds, started just before the state was
 * lost, is not accounted for.
 */
export function startBudget(limits: RateLimits, now: number): RateBudget {
  return {
    filledAt: now,
    buckets: { requests: 1 - bucketSize(limits.requests), tokens: 1 - bucketSize(limits.tokens) },
    window: [],
    quotas: { requests: null, tokens: null },
    turn: null,
    heldUntil: 0,
  };
}

/** What may be started now, at most; lines of any size. Fractions, below 0 too, and `Infinity`. */
export function roomOf(budget: RateBudget, limits: RateLimits, now: number): Amounts {
  const filled = fill(budget, limits, now);
  if (now < filled.heldUntil) return { requests: 0, tokens: 0 };
  return { requests: roomFor("requests", filled, limits), tokens: roomFor("tokens", filled, limits) };
}

/** Asks for lines. @param lines at most this many. @returns how many may start now; they count as started. */
export function takeLines(
  budget: RateBudget,
  limits: RateLimits,
  { taker, lines: wanted, tokensPerLine, now }: Ask & Lines,
): { readonly budget: RateBudget; readonly lines: number } {
  const filled = fill(budget, limits, now);
  const { turn } = filled;
  const fitting = fittingLines(filled, limits, tokensPerLine);
  if (wanted < 1 || (turn !== null && turn.taker !== taker)) return { budget: filled, lines: 0 };
  if (fitting < 1) {
    const until = fitsAt(filled, limits, tokensPerLine) + TURN_MS;
    return { budget: { ...filled, turn: { taker, tokens: tokensPerLine, until } }, lines: 0 };
  }
  const lines = Math.min(wanted, fitting, Math.floor(roomOf(filled, limits, now).requests + ROUNDING));
  if (lines < 1) return { budget: filled, lines: 0 };
  return { budget: spend({ ...filled, turn: null }, limits, { lines, tokensPerLine }), lines };
}

/** Lines that were started without asking, such as those that a consumer tries again by itself. */
export function debitLines(
  budget: RateBudget,
  limits: RateLimits,
  { lines, tokensPerLine, now }: Lines & Pick<Ask, "now">,
): RateBudget {
  return lines === 0 ? budget : spend(fill(budget, limits, now), limits, { lines, tokensPerLine });
}

/** Lines that were allowed and will not be started. */
export function giveLinesBack(budget: RateBudget, limits: RateLimits, { lines, tokensPerLine }: Lines): RateBudget {
  const tokens = lines * tokensPerLine;
  return {
    ...add(budget, limits, { requests: lines, tokens }),
    window: removeStarts(budget.window, { requests: lines, tokens }),
    quotas: spendQuotas(budget, { requests: -lines, tokens: -tokens }),
  };
}

/** Lines have been answered, or failed. @param cost what was reserved for them, and what they have used. */
export function correctTokens(
  budget: RateBudget,
  limits: RateLimits,
  cost: { readonly reserved: number; readonly used: number },
): RateBudget {
  const window = replaceReserved(budget.window, cost);
  return { ...add(budget, limits, { requests: 0, tokens: cost.reserved - cost.used }), window };
}

/** What an answer said of the upstream's own limits. Answers may be heard in any order. */
export function hearRateLimit(budget: RateBudget, seen: SeenRateLimit): RateBudget {
  return { ...budget, quotas: { requests: hear(budget, seen, "requests"), tokens: hear(budget, seen, "tokens") } };
}

/** The upstream wants to be left alone. */
export function holdBudget(budget: RateBudget, until: Date): RateBudget {
  return { ...budget, heldUntil: Math.max(budget.heldUntil, until.getTime()) };
}

/** In ms: when its next line may start if nothing else does, and if it has asked for it; `now` when it may already. */
export function nextStartAt(budget: RateBudget, limits: RateLimits, { taker, tokensPerLine, now }: Ask): number {
  const filled = fill(budget, limits, now);
  const { turn } = filled;
  const turnAt = turn !== null && turn.taker !== taker ? turn.until : now;
  return Math.max(turnAt, fitsAt(filled, limits, tokensPerLine));
}

function hear(budget: RateBudget, seen: SeenRateLimit, kind: Kind & keyof RateLimit): QuotaLevel | null {
  const before = budget.quotas[kind];
  const quota = seen[kind];
  const sentAt = seen.sentAt.getTime();
  const answeredAt = seen.answeredAt.getTime();
  if (quota === null || (before !== null && before.sentAt > sentAt)) return before;
  const startedSince = sumStarts(budget.window, kind, { now: answeredAt, since: sentAt });
  return readQuota(quota, { sentAt, answeredAt, startedSince });
}

/** Brings the buckets and the turn up to date. */
function fill(budget: RateBudget, limits: RateLimits, now: number): RateBudget {
  const minutes = Math.max(0, now - budget.filledAt) / MINUTE_MS;
  const { buckets, turn } = budget;
  // What a large line waits for is kept beyond the bucket's size, else it would never be together.
  const kept = Math.min(turn?.tokens ?? 0, limits.tokens ?? 0);
  const requests = fillBucket(buckets.requests, limits.requests, { minutes, kept: 0 });
  const tokens = fillBucket(buckets.tokens, limits.tokens, { minutes, kept });
  const filled = { ...budget, filledAt: Math.max(now, budget.filledAt), buckets: { requests, tokens } };
  if (turn === null) return filled;
  const fitsFrom = fitsAt(filled, limits, turn.tokens);
  const until = fitsFrom > now ? fitsFrom + TURN_MS : Math.min(turn.until, now + TURN_MS);
  return { ...filled, turn: now < until ? { ...turn, until } : null };
}

function fillBucket(held: number, limit: number | null, { minutes, kept }: { minutes: number; kept: number }): number {
  return limit === null ? 0 : Math.min(bucketSize(limit) + kept, held + limit * minutes);
}

function spend(budget: RateBudget, limits: RateLimits, { lines, tokensPerLine }: Lines): RateBudget {
  const spent = { requests: lines, tokens: lines * tokensPerLine };
  return {
    ...add(budget, limits, { requests: -spent.requests, tokens: -spent.tokens }),
    window: addStarts(budget.window, spent, budget.filledAt),
    quotas: spendQuotas(budget, spent),
  };
}

function add(budget: RateBudget, limits: RateLimits, { requests, tokens }: Amounts): RateBudget {
  const { buckets } = budget;
  return {
    ...budget,
    buckets: {
      requests: limits.requests === null ? 0 : buckets.requests + requests,
      tokens: limits.tokens === null ? 0 : buckets.tokens + tokens,
    },
  };
}

function spendQuotas({ quotas }: RateBudget, { requests, tokens }: Amounts): RateBudget["quotas"] {
  return { requests: spendQuota(quotas.requests, requests), tokens: spendQuota(quotas.tokens, tokens) };
}

function roomFor(kind: Kind, { buckets, window, quotas, filledAt: now }: RateBudget, limits: RateLimits): number {
  const quota = quotaAt(quotas[kind], now);
  const limit = limits[kind];
  if (limit === null) return quota;
  return Math.min(quota, buckets[kind], mostInWindow(limit) - sumStarts(window, kind, { now }));
}

/** By their tokens alone. */
function fittingLines(budget: RateBudget, limits: RateLimits, tokensPerLine: number): number {
  if (tokensPerLine <= 0) return Number.POSITIVE_INFINITY;
  const lines = Math.floor(roomFor("tokens", budget, limits) / tokensPerLine + ROUNDING);
  if (lines > 0) return lines;
  return fitsAt(budget, limits, tokensPerLine) <= budget.filledAt ? 1 : 0;
}

/** @param budget filled. @returns in ms, when it has room for one line of this size. */
function fitsAt(budget: RateBudget, limits: RateLimits, tokensPerLine: number): number {
  const { filledAt: now, heldUntil } = budget;
  const times = [now, heldUntil, kindFitsAt("requests", budget, { limit: limits.requests, amount: 1 })];
  if (tokensPerLine > 0) times.push(kindFitsAt("tokens", budget, { limit: limits.tokens, amount: tokensPerLine }));
  return Math.ceil(Math.max(...times));
}

function kindFitsAt(
  kind: Kind,
  { buckets, window, quotas, filledAt: now }: RateBudget,
  { limit, amount }: { readonly limit: number | null; readonly amount: number },
): number {
  const quotaReachesAt = quotaReaches(quotas[kind], amount, now);
  if (limit === null) return quotaReachesAt;
  // What is more than a whole minute's starts when the bucket holds a minute's, and leaves a debt.
  const missing = Math.min(amount, limit) - buckets[kind];
  const bucketReachesAt = missing <= ROUNDING ? now : now + (missing * MINUTE_MS) / limit;
  const most = mostInWindow(limit) - amount;
  const windowAllowsAt = most < 0 ? now : sumFallsTo(window, kind, { most, now });
  return Math.max(quotaReachesAt, bucketReachesAt, windowAllowsAt);
}

function bucketSize(limit: number | null): number {
  return limit === null ? 1 : 1 + limit * BUCKET_MINUTES;
}

/** Of a minute. */
function mostInWindow(limit: number): number {
  return Math.max(1, Math.floor(limit * MAX_OF_LIMIT));
}
