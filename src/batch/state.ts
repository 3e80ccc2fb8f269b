/**
 * What a coordinator knows of its batch beside its lines, and how a batch comes to its end. No I/O.
 *
 *   open ──────▶ draining ──────▶ finalizing ──────▶ ended ──────▶ published
 *    │  └───────────────────────────▲                  ▲
 *    └─────────────────────────────────────────────────┘
 *
 *   open → draining        a cancel, the end of the completion window, or the input's bytes are gone: nothing new starts
 *   draining → finalizing  nothing is in flight any more, or it was waited for long enough; if the last lines came in and
 *                          the batch is not cancelled, nothing is missing, and it ends `completed` after all
 *   open → finalizing      every line is settled
 *   finalizing → ended     the result files are written, or given up
 *   open → ended           validation has refused the input
 *   ended → published      D1 shows the final status and the files; then the object deletes all that it holds
 *
 * The status that a client sees (src/domain/batch.ts) says less: a batch that drains because its window is over is still
 * `in_progress`, and one that has ended shows its final status only when it is published.
 */
import type { BatchRecord, BatchStatus } from "../domain/batch.ts";
import type { BatchContext } from "../domain/conversation.ts";
import { pacerName } from "../domain/pacer-name.ts";
import type { FileRecord } from "../domain/file.ts";

/** The final status that a batch is on its way to. */
export type Ending = "completed" | EarlyEnding;

/** Endings with lines that were not executed. `failed`: the input's bytes are gone. */
export type EarlyEnding = "cancelled" | "expired" | "failed";

export type Stage =
  /** Validating, or lines may be started. */
  | { readonly kind: "open" }
  /** What is in flight may finish until then. */
  | { readonly kind: "draining"; readonly ending: EarlyEnding; readonly until: Date }
  | { readonly kind: "finalizing"; readonly ending: Ending }
  | { readonly kind: "ended"; readonly final: FinalState }
  /** In memory alone. */
  | { readonly kind: "published"; readonly final: FinalState };

/** How the batch will be for good. */
export interface FinalState {
  readonly record: BatchRecord;
  /** Output and error file, as far as there are any. */
  readonly files: readonly FileRecord[];
}

/** Null: not yet, or not for good. */
export function finalOf(stage: Stage): FinalState | null {
  return stage.kind === "ended" || stage.kind === "published" ? stage.final : null;
}

export interface BatchState {
  /** Its counts are 0 but for `total`, and its usage is null: both follow from the stored chunks. */
  readonly record: BatchRecord;
  /** The guest's own key, encrypted. Null when the configured key is used, and once no line can start any more. */
  readonly sealedKey: string | null;
  readonly stage: Stage;
}

/** How often the result files were begun, and since when (ms). */
export interface FinalizeTries {
  readonly since: number;
  readonly tries: number;
}

/** No line is in flight, nor will be. */
export function isOver({ record, stage }: BatchState): boolean {
  if (stage.kind === "open") return record.status !== "validating" && record.status !== "in_progress";
  return stage.kind !== "draining";
}

/** A batch that ends early says how; one whose lines are all settled shows the status that it has. */
export function endingStatusOf(record: BatchRecord, stage: Stage): BatchStatus {
  const isOnItsWay = stage.kind === "draining" || stage.kind === "finalizing";
  const ending = isOnItsWay ? stage.ending : (finalOf(stage)?.record.status ?? record.status);
  return ending === "completed" ? record.status : ending;
}

/** What a consumer has to know of the batch. */
export function contextOf({ record, sealedKey }: BatchState): BatchContext {
  const { id: batchId, endpoint, upstream, inputFileId, expiresAt } = record;
  const name = pacerName(upstream, sealedKey === null ? null : record.tenant);
  return { batchId, endpoint, upstream, inputFileId, expiresAt, sealedKey, pacerName: name };
}
