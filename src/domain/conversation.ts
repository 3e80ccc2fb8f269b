/**
 * What is said between a batch's coordinator and everybody else: the flat values that cross the queue and the RPC
 * boundary, in which order they are said, and how long each side waits for the other. No I/O.
 *
 *   coordinator                                                            consumer
 *       │                                                                      │
 *       │── Dispatch {batchId, token} ─────── by the queue ───────────────────▶│
 *       │                                                                      │
 *       │◀───────────────────────────────────────────────────── claim(token) ──│
 *       │── "run": slots, slices, the batch ──────────────────────────────────▶│  runs lines
 *       │                                                                      │
 *       │◀── report: results, lines given back, answers, lines wanted ─────────│  at least every HEARTBEAT_MS
 *       │── "run": slots, further slices, whether more may follow ────────────▶│  runs lines
 *       │                        …                                             │
 *       │◀── report, phase "leaving" ──────────────────────────────────────────│  has nothing left
 *       │── "stop" ───────────────────────────────────────────────────────────▶│  ends
 *
 * Either side may end it. The coordinator answers `stop` when nothing more may start, and `unknown` when the token is
 * not, or no longer, one of its dispatches. The consumer leaves when it has no line left or its time is over. Every
 * call under a token renews its lease. A call whose answer is lost may be made again.
 *
 * A consumer with idle slots asks the pacer which batch has lines that nobody runs (grant.ts), and claims there, by
 * `claimNext`, a dispatch that no queue has brought it: docs/decisions/shared-consumers.md.
 */
import type { BatchRecord, BatchStatus, Usage } from "./batch.ts";
import type { Chunk } from "./chunk.ts";
import type { Pause, AnswersHeard } from "./breaker.ts";
import type { Grant, Statement } from "./grant.ts";
import type { LineHistory } from "./line-history.ts";
import type { UpstreamStanding } from "./retry-policy.ts";
import type { ClaimedSlice } from "./slices.ts";
import type { Spending } from "./spending.ts";

/** A consumer reports at least this often: its coordinator sees that it lives, and it sees that its batch was cancelled. */
export const HEARTBEAT_MS = 10_000;
/** Three heartbeats may fail before the lines of a consumer are given to others. */
export const LEASE_MS = 4 * HEARTBEAT_MS;
/** A consumer that reached nobody for this time stops trying: its lease ended long ago, and others have its lines. */
export const PATIENCE_MS = 300_000;
/**
 * How long a dispatch takes further slices, at least. After it the consumer is given back to the platform, which adds
 * consumers as others end (developers.cloudflare.com/queues/configuration/consumer-concurrency).
 */
export const TAKES_SLICES_FOR_MS = 45_000;

/**
 * Where a dispatch stands.
 *
 *   sent ──claim──▶ working ──▶ winding_down ──▶ leaving
 *
 * `sent`: in the queue. `working`: it takes further slices. `winding_down`: it finishes what it has. `leaving`: it makes
 * its last report. The coordinator stores `sent` and `working` alone: a dispatch that was winding down when the object
 * restarted counts as working until its next report says more.
 */
export type DispatchPhase = "sent" | "working" | "winding_down" | "leaving";

/** The queue message. Well below the platform's 128 KB: a pointer, never a body. */
export interface Dispatch {
  readonly batchId: string;
  readonly token: string;
}

/** A queue message without work, acknowledged at once: what it is for says docs/decisions/queue-scaling.md. */
export interface ScaleMessage {
  readonly kind: "scale";
}

export type QueueMessage = Dispatch | ScaleMessage;

/** What stays the same for every slice of a batch. */
export interface BatchContext {
  readonly batchId: string;
  readonly endpoint: string;
  readonly upstream: string;
  readonly inputFileId: string;
  /** No line is tried again after this. */
  readonly expiresAt: Date;
  /** The guest's own key, encrypted (src/stores/sealed-key.ts); null when the configured key is used. */
  readonly sealedKey: string | null;
  /** Of the pacer of its upstream. Absent in replies of an older Worker. */
  readonly pacerName?: string;
}

/** The answer to a report. */
export type ReportReply =
  | {
      readonly kind: "run";
      /** At most this many lines at once. */
      readonly slots: number;
      /** To run beside what is under way. */
      readonly slices: readonly ClaimedSlice[];
      /** False: there will be no further slices for this dispatch, it winds down. */
      readonly mayHaveMore: boolean;
      /** What the coordinator knows of the upstream. */
      readonly standing: UpstreamStanding;
      /** Other batches wait for room: slots that the dispatch cannot use any more are to be reported at once. */
      readonly isRoomWanted: boolean;
      /**
       * Tries that the dispatch may begin beyond those that it was let begin before, by the upstream's budgets; null: as many
       * as its slots take.
       */
      readonly starts: number | null;
    }
  /** Start nothing more; report what is in flight, and what was not started as given back. */
  | { readonly kind: "stop" }
  /** The token is not, or no longer, known: drop everything, report nothing. */
  | { readonly kind: "unknown" };

/** The answer to a claim. */
export type ClaimReply =
  | Exclude<ReportReply, { kind: "run" }>
  | (Extract<ReportReply, { kind: "run" }> & { readonly batch: BatchContext });

/** The answer to a consumer that has claimed no dispatch, and would take one on. Null: there is nothing for it. */
export type NextClaim = (Extract<ClaimReply, { kind: "run" }> & { readonly token: string }) | null;

/** A line that is not settled: give it to somebody at `dueAt`, null for at once. */
export interface GivenBackLine {
  readonly line: number;
  /** Tries so far. */
  readonly attempts: number;
  readonly dueAt: Date | null;
  /** Null or absent: it never failed. */
  readonly history?: LineHistory | null;
}

export interface AnswerCounts {
  /** Upstream answers since the last report, failures to answer included. */
  readonly answers: number;
  /** How many of them were pressure: busy, or away (answer-class.ts). */
  readonly pressured: number;
}

/** What a consumer knows to be its own. A slice that was granted in a lost answer is not among it. */
export interface HeldSlices {
  /** Counts the reports of a dispatch, repeated ones too. An earlier one may arrive late: it knows less. */
  readonly exchange: number;
  /** Indexes of the slices of which it has lines that are not in this report, or in an earlier one. */
  readonly slices: readonly number[];
}

export interface Report extends AnswerCounts {
  readonly token: string;
  /** Already stored. Null: nothing settled since the last report. */
  readonly chunk: Chunk | null;
  /** Of the successful lines of `chunk`. */
  readonly usage: Usage | null;
  readonly givenBack: readonly GivenBackLine[];
  /** How many further lines the consumer would take now; 0 when it has enough, or takes no more. */
  readonly wantedLines: number;
  /** With `leaving`, what the dispatch does not mention is taken back. */
  readonly phase: Exclude<DispatchPhase, "sent">;
  /** The input's bytes were not there. */
  readonly inputMissing: boolean;
  /** The answers by class. */
  readonly heard: AnswersHeard;
  /** Tries that it would begin at once if the upstream's budgets let it. */
  readonly wantedStarts: number;
  /** Lines in flight now, and lines that it has and that are not. Absent in reports of an older Worker. */
  readonly inFlight?: number;
  readonly waiting?: number;
  /** What its lines took of the upstream's budgets since the last report. One that is sent again says it again. */
  readonly spent: Spending;
  /** How many lines its consumer could have in flight for it. Absent in reports of an older Worker: as before. */
  readonly canUse?: number;
  /** Other slices that are with its token are taken back. Older consumers do not say it: nothing is taken back then. */
  readonly holds?: HeldSlices;
}

/** What http, queue and sweep may ask of a batch's coordinator. Refusals are plain data: an RPC loses an error's class. */
export interface Coordinator {
  /** Takes on a new batch, status `validating`: it is stored and listed when this has returned. */
  start(order: StartOrder): Promise<StartReply>;
  /** The batch as it is now. Null: it is not here any more, and D1 has the whole truth. */
  snapshot(): Promise<BatchSnapshot | null>;
  /** Asking again is no mistake. */
  cancel(): Promise<CancelReply>;
  /** A consumer takes a dispatch on. A token counts once. */
  claim(token: string): Promise<ClaimReply>;
  /**
   * A consumer that works for other dispatches takes one on, with at most `slots` lines in flight: the one that has waited
   * longest in a queue, whose message then means nothing any more, or one that would have been sent next.
   */
  claimNext(slots: number): Promise<NextClaim>;
  /** A consumer says what became of lines, and asks for more. The same report may come again. */
  report(report: Report): Promise<ReportReply>;
  /** The queue gave up on a dispatch. */
  deadLettered(token: string): Promise<void>;
  /** The pacer of its upstream says what it may have. Null: the batch is not here any more. */
  takeGrant(grant: Grant): Promise<Statement | null>;
  /** The pacer asks what it holds. Null: the batch is not here any more. */
  describeLoad(): Promise<Statement | null>;
  /** The sweep found a batch that is not final; `copy` is what D1 says of it. */
  wake(copy: BatchRecord): Promise<void>;
}

export type BatchSnapshot = BatchRecord & {
  /** Why nothing is sent to its upstream now; absent when it is not paused. */
  readonly pause?: Pause;
};

export interface StartOrder {
  readonly batch: BatchRecord;
  /** The guest's own key, encrypted; null when the configured key is used. */
  readonly sealedKey: string | null;
}

export type StartReply =
  | { readonly ok: true; readonly batch: BatchRecord }
  | { readonly ok: false; readonly reason: "unavailable" };

export type CancelReply =
  | { readonly ok: true; readonly batch: BatchRecord }
  /** It is final, about to be, or its results are being written. */
  | { readonly ok: false; readonly reason: "too_late"; readonly status: BatchStatus }
  | { readonly ok: false; readonly reason: "gone" };
