/**
 * How consumers and coordinators talk. A dispatch is a queue message that asks a consumer to work for a
 * batch. Under its token the consumer claims slices, one after another, and reports what became of their
 * lines; every exchange renews the lease. A token that the coordinator no longer knows changes nothing.
 * These are the flat values that cross the queue and the RPC boundary; no I/O.
 */
import type { Usage } from "./batch.ts";

/** The queue message. Well below the platform's 128 KB: a pointer, never a body. */
export interface Dispatch {
  readonly batchId: string;
  readonly token: string;
}

/** A run of neighbouring lines of the input file and where its bytes are. */
export interface Slice {
  readonly index: number;
  /** 0-based number of its first line in the file. */
  readonly firstLine: number;
  readonly lineCount: number;
  readonly byteStart: number;
  readonly byteLength: number;
}

/** A slice handed to a consumer: it runs the lines in `lines` and leaves the others alone. */
export interface ClaimedSlice extends Slice {
  readonly lines: readonly ClaimedLine[];
}

export interface ClaimedLine {
  /** 0-based number in the file. */
  readonly line: number;
  /** Tries so far. */
  readonly attempts: number;
}

/** What stays the same for every slice of a batch. */
export interface BatchContext {
  readonly batchId: string;
  readonly endpoint: string;
  readonly upstream: string;
  readonly inputFileId: string;
  /** No line is tried again after this. */
  readonly expiresAt: Date;
  /** the guest's own key, encrypted (src/stores/sealed-key.ts); null when the configured key is used. */
  readonly sealedKey: string | null;
}

/** The answer to a claim or a report. */
export type ReportReply =
  /**
   * Run these slices beside what is under way, at most `slots` lines at once. When lines were wanted and there
   * is no slice, there are none for this dispatch any more: it winds down.
   */
  | { readonly kind: "run"; readonly slots: number; readonly slices: readonly ClaimedSlice[] }
  /** Start nothing more; report what is in flight, and what was not started as given back. */
  | { readonly kind: "stop" }
  /** The token is not (or no longer) known: drop everything, report nothing. */
  | { readonly kind: "unknown" };

export type ClaimReply =
  | Exclude<ReportReply, { kind: "run" }>
  | (Extract<ReportReply, { kind: "run" }> & { readonly batch: BatchContext });

/** Result lines in one R2 object, in the order in which they stand in it. */
export interface Chunk {
  readonly key: string;
  readonly lines: readonly ChunkLine[];
}

export interface ChunkLine {
  readonly line: number;
  /** With its line break. */
  readonly bytes: number;
  readonly result: "completed" | "failed";
}

/** A line that is not settled: give it to somebody at `dueAt`, null for at once. */
export interface GivenBackLine {
  readonly line: number;
  readonly attempts: number;
  readonly dueAt: Date | null;
}

export interface Report {
  readonly token: string;
  /** Already stored. Null: nothing settled since the last report. */
  readonly chunk: Chunk | null;
  /** Of the successful lines of `chunk`. */
  readonly usage: Usage | null;
  readonly givenBack: readonly GivenBackLine[];
  /** Upstream answers since the last report, and how many of them were pressure (429, 503, unreachable). */
  readonly answers: number;
  readonly pressured: number;
  /** How many further lines the consumer would take now; 0 when it has enough, or takes no more. */
  readonly wantedLines: number;
  /**
   * `working`: it will want further lines, now or later. `winding_down`: it finishes what it has.
   * `leaving`: this is its last report; what it does not mention is taken back.
   */
  readonly phase: "working" | "winding_down" | "leaving";
  /** The input's bytes were not there. */
  readonly inputMissing: boolean;
}
