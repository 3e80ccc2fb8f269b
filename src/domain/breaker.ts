/**
 * Whether an upstream counts as paused: nothing is sent to it then but one probing line at a time. Pure.
 *
 *             a round of answers, none of them fine
 *    closed ────────────────────────────────────────▶ paused ──┐ a probe brings nothing fine:
 *      ▲                                                 │  ▲    │ the next pause is twice as long
 *      └─────────────────────────────────────────────────┘  └────┘
 *                       a fine answer
 *
 * A round is 20 answers, or as many as there are lines in flight where those are fewer. Before the first success three
 * refusals in a row are enough: 401 to three lines is 401 to all.
 */
import type { AnswerClass, Trouble } from "./answer-class.ts";
import { doublingPause } from "./backoff.ts";
import type { Failure, Outcome } from "./outcome.ts";

/** What a consumer heard from the upstream since its last report. */
export interface AnswersHeard {
  /** Answers of each class. Those of lines that fail by themselves, while others succeed, are not counted. */
  readonly fine: number;
  /** Of the fine ones, those with success. */
  readonly succeeded: number;
  readonly busy: number;
  readonly away: number;
  readonly refused: number;
  readonly stumble: number;
  /** The last of them; null when there is none. */
  readonly failure: Failure | null;
  /** The longest `retry-after` of busy answers; null when there is none. */
  readonly retryAfterSeconds: number | null;
}

export interface Breaker {
  /** Answers in a row of which none was fine, by class. */
  readonly counts: Readonly<Record<Trouble, number>>;
  /** Null: closed. */
  readonly pause: Pause | null;
}

/** Times in milliseconds: this is stored, because an object may leave memory between two probes. */
export interface Pause {
  readonly reason: Trouble;
  /** What the upstream answered last. */
  readonly failure: Failure | null;
  readonly since: number;
  readonly probeAt: number;
  /** How long it waits for the next probe. */
  readonly seconds: number;
}

export interface BreakerContext {
  /** Lines that may be in flight now. */
  readonly linesInFlight: number;
  /** Some line of the batch was answered with success. */
  readonly hasServed: boolean;
  readonly now: Date;
}

export const CLOSED: Breaker = { counts: { busy: 0, away: 0, refused: 0, stumble: 0 }, pause: null };
export const NOTHING_HEARD: AnswersHeard = {
  fine: 0,
  succeeded: 0,
  busy: 0,
  away: 0,
  refused: 0,
  stumble: 0,
  failure: null,
  retryAfterSeconds: null,
};

const ROUND_ANSWERS = 20;
const REFUSALS_BEFORE_SUCCESS = 3;
const FIRST_PAUSE_SECONDS = 1;
const MAX_PAUSE_SECONDS: Readonly<Record<Trouble, number>> = { busy: 60, away: 60, stumble: 60, refused: 300 };
/** A `retry-after` beyond it is taken for this much. */
const MAX_ASKED_SECONDS = 3600;
/** A guest's key that is refused for this time is mended by nobody: another key is another guest. */
const GUEST_PATIENCE_MS = 600_000;
/** An upstream that answers 500 to whatever is left of a batch, for this time, will go on so: it is the lines. */
const STUMBLE_PATIENCE_MS = 3_600_000;

export function observeAnswers(
  before: Breaker,
  heard: AnswersHeard,
  { linesInFlight, hasServed, now }: BreakerContext,
): Breaker {
  if (heard.fine > 0) return CLOSED;
  if (countTrouble(heard) === 0) return before;
  const { pause } = before;
  if (pause !== null) {
    // Lines that were in flight when the pause began say nothing new.
    return now.getTime() < pause.probeAt ? before : { ...before, pause: lengthen(pause, heard, now) };
  }
  const counts = {
    busy: before.counts.busy + heard.busy,
    away: before.counts.away + heard.away,
    refused: before.counts.refused + heard.refused,
    stumble: before.counts.stumble + heard.stumble,
  };
  const answers = counts.busy + counts.away + counts.refused + counts.stumble;
  const isRefused = !hasServed && counts.refused === answers && answers >= REFUSALS_BEFORE_SUCCESS;
  const round = Math.max(1, Math.min(ROUND_ANSWERS, linesInFlight));
  if (answers < round && !isRefused) return { counts, pause: null };
  const first = { reason: reasonOf(counts), failure: null, since: now.getTime(), probeAt: 0, seconds: 0 };
  return { counts, pause: lengthen(first, heard, now) };
}

/** With one more answer. */
export function hear(before: AnswersHeard, answerClass: AnswerClass, outcome: Outcome): AnswersHeard {
  const counted = { ...before, [answerClass]: before[answerClass] + 1 };
  if (answerClass === "fine") return { ...counted, succeeded: before.succeeded + (outcome.failure === null ? 1 : 0) };
  const asked = outcome.kind === "answered" && answerClass === "busy" ? outcome.retryAfterSeconds : null;
  const retryAfterSeconds = asked === null ? before.retryAfterSeconds : Math.max(asked, before.retryAfterSeconds ?? 0);
  return { ...counted, failure: outcome.failure, retryAfterSeconds };
}

/** Of two consumers, or of two reports. */
export function joinHeard(before: AnswersHeard, more: AnswersHeard): AnswersHeard {
  const asked = [before.retryAfterSeconds, more.retryAfterSeconds].filter((seconds) => seconds !== null);
  return {
    fine: before.fine + more.fine,
    succeeded: before.succeeded + more.succeeded,
    busy: before.busy + more.busy,
    away: before.away + more.away,
    refused: before.refused + more.refused,
    stumble: before.stumble + more.stumble,
    failure: more.failure ?? before.failure,
    retryAfterSeconds: asked.length === 0 ? null : Math.max(...asked),
  };
}

/** Answers that were not fine. */
export function countTrouble({ busy, away, refused, stumble }: AnswersHeard): number {
  return busy + away + refused + stumble;
}

/** Without what was reported meanwhile. */
export function unhear(all: AnswersHeard, reported: AnswersHeard): AnswersHeard {
  const isSame = all.failure === reported.failure;
  return {
    fine: all.fine - reported.fine,
    succeeded: all.succeeded - reported.succeeded,
    busy: all.busy - reported.busy,
    away: all.away - reported.away,
    refused: all.refused - reported.refused,
    stumble: all.stumble - reported.stumble,
    failure: isSame ? null : all.failure,
    retryAfterSeconds: isSame ? null : all.retryAfterSeconds,
  };
}

/** A probe may be sent. */
export function isProbeDue(pause: Pause, now: Date): boolean {
  return now.getTime() >= pause.probeAt;
}

/** A guest's key has been refused for its whole patience: its lines are settled with that answer. */
export function isRefusedForGood(pause: Pause | null, now: Date): boolean {
  return pause?.reason === "refused" && now.getTime() >= pause.since + GUEST_PATIENCE_MS;
}

/** What fails now fails by itself, although no other line succeeds. */
export function isStumbleFinal(pause: Pause | null, now: Date): boolean {
  return pause?.reason === "stumble" && now.getTime() >= pause.since + STUMBLE_PATIENCE_MS;
}

function lengthen(pause: Pause, heard: AnswersHeard, now: Date): Pause {
  const most = MAX_PAUSE_SECONDS[pause.reason];
  const seconds = pause.seconds === 0 ? FIRST_PAUSE_SECONDS : doublingPause(pause.seconds, most, 1);
  const askedSeconds = Math.min(heard.retryAfterSeconds ?? 0, MAX_ASKED_SECONDS);
  const probeAt = now.getTime() + Math.max(seconds, askedSeconds) * 1000;
  return { ...pause, failure: heard.failure ?? pause.failure, probeAt, seconds };
}

/** What most of the answers were. */
function reasonOf(counts: Readonly<Record<Trouble, number>>): Trouble {
  const classes: readonly Trouble[] = ["refused", "away", "busy", "stumble"];
  return classes.reduce((most, trouble) => (counts[trouble] > counts[most] ? trouble : most));
}
