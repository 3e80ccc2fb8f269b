/**
 * What a coordinator asks of the queues of dispatches: to take messages, and how old the oldest is that they have. Which
 * queue a dispatch is in is in its token.
 */
import type { QueueMessage } from "../domain/conversation.ts";
import { planScaleMessages } from "../domain/dispatch-plan.ts";
import { queueOf, tokenMaker } from "../domain/dispatch-tokens.ts";
import { logFailure } from "../log.ts";
import type { LiveBatch } from "./live-batch.ts";

interface PlannedDispatches {
  readonly batchId: string;
  readonly tokens: readonly string[];
  /** For the first of the tokens: one message without work each, sent in front of all that go to the same queue. */
  readonly scaleMessages: number;
}

type Sent = { readonly ok: true } | { readonly ok: false; readonly unsent: readonly string[]; readonly error: unknown };

/** developers.cloudflare.com/queues/platform/limits: messages a `sendBatch` takes. */
const MESSAGES_PER_SEND = 100;
/** A queue that did not take a message is spared for this while there are others. */
const SPARED_MS = 60_000;

export class DispatchQueues {
  /** By queue: until when, in ms, others are asked in its place. In memory alone. */
  readonly #sparedUntil = new Map<number, number>();

  /** @param tokens of the batch's dispatches. @returns what makes the tokens of further ones. */
  makeTokens(queues: readonly Queue[], tokens: readonly string[]): () => string {
    const all = queues.map((_, queue) => queue);
    const good = all.filter((queue) => (this.#sparedUntil.get(queue) ?? 0) <= Date.now());
    const chance = { makeId: () => crypto.randomUUID(), random: () => Math.random() };
    return tokenMaker({ queues: good.length === 0 ? all : good, tokens }, chance);
  }

  /**
   * Sends the dispatches that the batch wants.
   * @throws what a queue that did not take them has thrown.
   */
  async sendWanted(queues: readonly Queue[], live: LiveBatch): Promise<void> {
    const tokens = live.planDispatches(this.makeTokens(queues, live.dispatches.tokens()), new Date());
    const { size, hadAtOnce } = live.dispatches;
    const scaleMessages = planScaleMessages(tokens.length, size, hadAtOnce);
    const sent = await this.#send(queues, { batchId: live.record.id, tokens, scaleMessages });
    if (sent.ok) return;
    live.forgetDispatches(sent.unsent);
    throw sent.error;
  }

  /** One queue after another; what one does not take says nothing of the others. */
  async #send(queues: readonly Queue[], { batchId, tokens, scaleMessages }: PlannedDispatches): Promise<Sent> {
    const scaled = new Set(tokens.slice(0, scaleMessages));
    const unsent: string[] = [];
    let failure: { readonly error: unknown } | null = null;
    for (const [index, queue] of queues.entries()) {
      const own = tokens.filter((token) => queueOf(token) === index);
      const sent = await sendTo(queue, {
        batchId,
        tokens: own,
        scaleMessages: own.filter((token) => scaled.has(token)).length,
      });
      if (sent.ok) continue;
      this.#sparedUntil.set(index, Date.now() + SPARED_MS);
      unsent.push(...sent.unsent);
      failure ??= { error: sent.error };
    }
    return failure === null ? { ok: true } : { ok: false, unsent, ...failure };
  }
}

async function sendTo(queue: Queue, { batchId, tokens, scaleMessages }: PlannedDispatches): Promise<Sent> {
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

/** Gives dispatches that are overdue more time when they may still be in their queues. Never throws. */
export async function awaitQueues(queues: readonly Queue[], { record, dispatches }: LiveBatch): Promise<void> {
  const holding = new Set(dispatches.findOverdue(new Date()).map(({ token }) => queueOf(token)));
  if (holding.size === 0) return;
  const asked = [...holding].map(async (index) => {
    const queue = queues[index];
    // One that is gone from the deployment may have been deleted with what it held.
    return [index, queue === undefined ? null : await findOldestMessage(queue, record.id)] as const;
  });
  const oldest = new Map(await Promise.all(asked));
  dispatches.awaitQueue((token) => oldest.get(queueOf(token)) ?? null, new Date());
}

/**
 * When the oldest message was sent that nobody has acknowledged: it waits, or is being worked on. The queue's answer is
 * approximate (developers.cloudflare.com/queues/observability/metrics).
 * @returns null: there is none, or the queue does not say.
 */
async function findOldestMessage(queue: Queue, batchId: string): Promise<Date | null> {
  try {
    const { oldestMessageTimestamp: oldest } = await queue.metrics();
    // 0 is the platform's word for "unknown".
    return oldest === undefined || oldest.getTime() <= 0 ? null : oldest;
  } catch (error) {
    logFailure("queue_not_asked", { batch: batchId }, error);
    return null;
  }
}
