/** What http, queue and sweep may ask of a batch's coordinator: flat values in and out, refusals as plain data. */
import type { BatchRecord, BatchStatus } from "./batch.ts";
import type { ClaimReply, ReportReply, Report } from "./dispatch.ts";

export interface Coordinator {
  /** Takes on a new batch, status `validating`: it is stored and listed when this has returned. */
  start(order: StartOrder): Promise<StartReply>;
  /** The batch as it is now. Null: it is not here any more, and D1 has the whole truth. */
  snapshot(): Promise<BatchRecord | null>;
  /** Asking again is no mistake. */
  cancel(): Promise<CancelReply>;
  /** A consumer takes a dispatch on. A token counts once. */
  claim(token: string): Promise<ClaimReply>;
  /** A consumer says what became of lines, and asks for more. The same report may come again. */
  report(report: Report): Promise<ReportReply>;
  /** The queue gave up on a dispatch. */
  deadLettered(token: string): Promise<void>;
  /** Another batch has begun or ended to run on its upstream, and its share is no longer what it was. */
  shareChanged(): Promise<void>;
  /** The sweep found a batch that is not final; `copy` is what D1 says of it. */
  wake(copy: BatchRecord): Promise<void>;
}

export interface StartOrder {
  readonly batch: BatchRecord;
  /** the guest's own key, encrypted; null when the configured key is used. */
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
