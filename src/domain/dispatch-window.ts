/**
 * How many lines of a batch may be in flight, within its share (src/domain/share.ts): additive increase,
 * multiplicative decrease, as TCP does it (RFC 5681), so that batches converge to what their upstream takes, and
 * fairly, where that is less than their shares. Counted by answers, not by the clock: over `size` answers, about
 * one round trip, a window
 *
 *   doubles                                before it has met any pressure,
 *   gains cap / 32, a quarter at least     when all answers were fine,
 *   loses half of the share that was pressure: all of it 429 halves the window, 3 % costs 1.5 %.
 *
 * At one slot and still nothing but pressure it pauses, 1 s to 60 s, and then sends one line to probe. Pure.
 */

export interface DispatchWindow {
  /** At least 1; fractions are kept so that small steps add up. */
  readonly size: number;
  readonly phase: "slow_start" | "steady";
  /** Nothing is sent before it; null when there is no pause. */
  readonly pausedUntil: Date | null;
  /** Length of the last pause; 0 once an answer was fine. */
  readonly pauseSeconds: number;
}

export interface WindowReport {
  /** Answers since the last report, failures to answer included. */
  readonly answers: number;
  /** How many of them were pressure: `isPressure`. */
  readonly pressured: number;
  /** The batch's share of the upstream now. A window that is larger already stays so until there is pressure. */
  readonly cap: number;
  readonly now: Date;
}

const INITIAL_SLOTS = 64;
const ROUNDS_FROM_ONE_TO_CAP = 32;
/** A larger one lets a thousand small windows push an upstream that is full; a smaller one has them crawl. */
const MIN_STEP = 0.25;
const MIN_PAUSE_SECONDS = 1;
const MAX_PAUSE_SECONDS = 60;

export function startWindow(cap: number): DispatchWindow {
  return { size: clamp(INITIAL_SLOTS, cap), phase: "slow_start", pausedUntil: null, pauseSeconds: 0 };
}

/** The window after a report of the lines that ran within it. */
export function adjustWindow(
  before: DispatchWindow,
  { answers, pressured, cap: share, now }: WindowReport,
): DispatchWindow {
  const fine = answers - pressured;
  // Whoever waits for its turn learns nothing new of its part.
  const cap = pressured > 0 && share > 0 ? share : Math.max(share, before.size);
  const window = { ...before, size: clamp(before.size, cap) };
  if (fine > 0) {
    const grown = pressured === 0 ? grow(window, fine, cap) : grow({ ...window, phase: "steady" }, fine, cap);
    return {
      size: clamp(grown - pressured / 2, cap),
      phase: pressured === 0 ? window.phase : "steady",
      pausedUntil: null,
      pauseSeconds: 0,
    };
  }
  // Lines that were in flight when the pause began say nothing new.
  if (pressured === 0 || isPaused(window, now)) return window;
  if (window.size > 1) return { ...window, size: clamp(window.size - pressured / 2, cap), phase: "steady" };
  const pauseSeconds = Math.min(MAX_PAUSE_SECONDS, Math.max(MIN_PAUSE_SECONDS, window.pauseSeconds * 2));
  return { size: 1, phase: "steady", pausedUntil: new Date(now.getTime() + pauseSeconds * 1000), pauseSeconds };
}

/** Lines that may be in flight now: 0 in a pause, else at least 1. */
export function openSlots(window: DispatchWindow, now: Date): number {
  return isPaused(window, now) ? 0 : Math.floor(window.size);
}

function isPaused(window: DispatchWindow, now: Date): boolean {
  return window.pausedUntil !== null && now < window.pausedUntil;
}

function grow(window: DispatchWindow, fine: number, cap: number): number {
  if (window.phase === "slow_start") return window.size + fine;
  const step = Math.max(MIN_STEP, cap / ROUNDS_FROM_ONE_TO_CAP);
  // Each answer adds step / size. This is the sum of that, however many answers one report brings.
  return Math.sqrt(window.size ** 2 + 2 * step * fine);
}

function clamp(size: number, cap: number): number {
  return Math.max(1, Math.min(size, cap));
}
