/** The coordinator of a batch as HTTP needs it: three of its RPC methods. */
import type { BatchRecord, BatchStatus } from "../domain/batch.ts";

export interface Coordinator {
  /** Takes on a new batch: it is stored and listed when this has returned. */
  start(order: { readonly batch: BatchRecord; readonly sealedKey: string | null }): Promise<StartReply>;
  /** Null: the batch is final, and D1 has the whole truth. */
  snapshot(): Promise<BatchRecord | null>;
  cancel(): Promise<CancelReply>;
}

export type StartReply =
  | { readonly ok: true; readonly batch: BatchRecord }
  | { readonly ok: false; readonly reason: "unavailable" };

export type CancelReply =
  | { readonly ok: true; readonly batch: BatchRecord }
  | { readonly ok: false; readonly reason: "final" | "finalizing" | "gone"; readonly status?: BatchStatus };

export function coordinatorOf(env: Env, batchId: string): Coordinator {
  return env.COORDINATORS.getByName(batchId) as unknown as Coordinator;
}
