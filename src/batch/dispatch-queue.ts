/** What a coordinator asks of the queue of dispatches: to take messages, and how old the oldest is that it has. */
import type { QueueMessage } from "../domain/conversation.ts";
import { logFailure } from "../log.ts";

export interface PlannedDispatches {
  readonly tokens: readonly string[];
  /** Messages without work, sent in front. */
  readonly scaleMessages: number;
}

export type Sent =
  | { readonly ok: true }
  | { readonly ok: false; readonly unsent: readonly string[]; readonly error: unknown };

/** developers.cloudflare.com/queues/platform/limits: messages a `sendBatch` takes. */
const MESSAGES_PER_SEND = 100;

export async function sendDispatches(
  queue: Queue,
  batchId: string,
  { tokens, scaleMessages }: PlannedDispatches,
): Promise<Sent> {
  const messages: readonly QueueMessage[] = [
    ...Array.from({ length: scaleMessages }, () => ({ kind: "scale" as const })),
    ...tokens.map((token) => ({ batchId, token })),
  ];
  for (let from = 0; from < messages.length; from += MESSAGES_PER_SEND) {
    try {
      await queue.sendBatch(messages.slice(from, from + MESSAGES_PER_SEND).map((body) => ({ body })));
    } catch (error) {
      return { ok: false, unsent: tokens.slice(Math.max(0, from - scaleMessages)), error };
    }
  }
  return { ok: true };
}

/**
 * When the oldest message was sent that nobody has acknowledged: it waits, or is being worked on. The queue's answer is
 * approximate (developers.cloudflare.com/queues/observability/metrics). Never throws.
 * @returns null: there is none, or the queue does not say.
 */
export async function findOldestMessage(queue: Queue, batchId: string): Promise<Date | null> {
  try {
    const { oldestMessageTimestamp: oldest } = await queue.metrics();
    // 0 is the platform's word for "unknown".
    return oldest === undefined || oldest.getTime() <= 0 ? null : oldest;
  } catch (error) {
    logFailure("queue_not_asked", { batch: batchId }, error);
    return null;
  }
}
