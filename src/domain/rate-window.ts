/** What was started in the last minute, second by second. Pure. */

export const MINUTE_MS = 60_000;
/** Starts within the same second are kept together, and count until the last of them is a minute old. */
const STEP_MS = 1000;

export interface Starts {
  /** In ms: the last of them. */
  readonly at: number;
  readonly requests: number;
  /** Estimates, in place of which what is known of their cost has come. */
  readonly tokens: number;
  /** Of `tokens`, what is still an estimate. */
  readonly reserved: number;
}

/** The oldest first. */
export type RateWindow = readonly Starts[];
export type Kind = "requests" | "tokens";
export type Amounts = Readonly<Record<Kind, number>>;

export function addStarts(window: RateWindow, { requests, tokens }: Amounts, now: number): RateWindow {
  const kept = window.filter(({ at }) => at > now - MINUTE_MS);
  const last = kept.at(-1);
  if (last === undefined || stepOf(now) > stepOf(last.at)) {
    return [...kept, { at: now, requests, tokens, reserved: tokens }];
  }
  const merged = {
    at: Math.max(now, last.at),
    requests: last.requests + requests,
    tokens: last.tokens + tokens,
    reserved: last.reserved + tokens,
  };
  return [...kept.slice(0, -1), merged];
}

/** Of what was started within the last minute before `now`, or since `since` if that is later. */
export function sumStarts(window: RateWindow, kind: Kind, { now, since = 0 }: { now: number; since?: number }): number {
  const after = Math.max(now - MINUTE_MS, since);
  return window.reduce((sum, starts) => (starts.at > after ? sum + starts[kind] : sum), 0);
}

/** In ms: when the last minute holds at most this much, if nothing more is started; `now` when it does already. */
export function sumFallsTo(window: RateWindow, kind: Kind, { most, now }: { most: number; now: number }): number {
  let sum = sumStarts(window, kind, { now });
  let time = now;
  for (const starts of window) {
    if (sum <= most) break;
    if (starts.at <= now - MINUTE_MS) continue;
    sum -= starts[kind];
    time = starts.at + MINUTE_MS;
  }
  return time;
}

/** Replaces estimates by what came of them. Those that are answered first are taken to have been started first. */
export function replaceReserved(
  window: RateWindow,
  { reserved, used }: { reserved: number; used: number },
): RateWindow {
  if (reserved <= 0) return window;
  let left = reserved;
  return window.map((starts) => {
    const known = Math.min(left, starts.reserved);
    left -= known;
    return {
      ...starts,
      tokens: starts.tokens - known + (known * used) / reserved,
      reserved: starts.reserved - known,
    };
  });
}

/** Takes out what was to be started, and was not: of the latest first. */
export function removeStarts(window: RateWindow, { requests, tokens }: Amounts): RateWindow {
  let requestsLeft = requests;
  let tokensLeft = tokens;
  const latestFirst = window.toReversed().map((starts) => {
    const requestsOut = Math.min(requestsLeft, starts.requests);
    const tokensOut = Math.min(tokensLeft, starts.reserved);
    requestsLeft -= requestsOut;
    tokensLeft -= tokensOut;
    return {
      at: starts.at,
      requests: starts.requests - requestsOut,
      tokens: starts.tokens - tokensOut,
      reserved: starts.reserved - tokensOut,
    };
  });
  return latestFirst.toReversed();
}

function stepOf(time: number): number {
  return Math.floor(time / STEP_MS);
}
