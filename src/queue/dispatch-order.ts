/** What a consumer works for: a claimed dispatch, and where its lines go. */
import type { Upstream } from "../config.ts";
import type { ClaimReply, Report, ReportReply } from "../domain/conversation.ts";
import type { LineRoom } from "../domain/memory-budget.ts";
import { noAnswer, type Outcome } from "../domain/outcome.ts";
import { sendLine } from "../upstream/send.ts";
import type { Invocation } from "./invocation.ts";
import type { ReadyLine } from "./slice-lines.ts";

export interface DispatchOrder {
  readonly token: string;
  readonly claim: Extract<ClaimReply, { kind: "run" }>;
  /** Null: no longer in the settings; its lines then count as sent to an upstream that cannot be reached. */
  readonly upstream: Upstream | null;
  /** The guest's key is there, and cannot be read: its lines count as refused. */
  readonly isKeyUnreadable: boolean;
  /** The guest's own key, in place of the configured one. */
  readonly apiKey: string | null;
  readonly bucket: R2Bucket;
  readonly report: (report: Report) => Promise<ReportReply>;
  /** What it shares with others. */
  readonly invocation: Invocation;
}

/** One attempt. @param line with the number of this attempt. */
export async function sendTo(
  { upstream, apiKey, isKeyUnreadable, claim }: DispatchOrder,
  { line, body, attempts: attempt }: ReadyLine,
  { room, onTry }: { readonly room: LineRoom; readonly onTry: () => void },
): Promise<Outcome> {
  if (isKeyUnreadable) return noAnswer("guest_key_unreadable");
  if (upstream === null) return noAnswer("upstream_unreachable");
  const requestKey = `${claim.batch.batchId}-${line + 1}`;
  onTry();
  const { reserve } = room;
  return sendLine(upstream, { endpoint: claim.batch.endpoint, body, requestKey, attempt, apiKey, reserve });
}
