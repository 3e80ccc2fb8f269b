/** Takes messages from the queues: a dispatch is claimed and worked for, a dead letter is told to its coordinator. */
import * as z from "zod";
import { type Settings, settingsOf } from "../config.ts";
import { doublingPause } from "../domain/backoff.ts";
import type { BatchContext, Dispatch } from "../domain/conversation.ts";
import { fillClaimReply } from "../domain/other-version.ts";
import { logEvent, logFailure } from "../log.ts";
import { openSealedKey } from "../stores/sealed-key.ts";
import { type DispatchOrder, DispatchRun } from "./dispatch-run.ts";

/** The queue whose name ends so holds what other queues gave up on. */
const DEAD_LETTERS_SUFFIX = "dead-letters";
const MIN_RETRY_DELAY_SECONDS = 10;
const MAX_RETRY_DELAY_SECONDS = 300;

type Destination = Pick<DispatchOrder, "upstream" | "apiKey" | "isKeyUnreadable">;

/** What a newer version of the Worker adds is ignored: its dispatches are worked for (docs/decisions/versions.md). */
const dispatchSchema = z.object({ batchId: z.string(), token: z.string() });
const scaleSchema = z.object({ kind: z.literal("scale") });

export async function consumeQueue(batch: MessageBatch, env: Env, ctx: ExecutionContext): Promise<void> {
  const consume = batch.queue.endsWith(DEAD_LETTERS_SUFFIX) ? consumeDeadLetter : consumeDispatch;
  await Promise.all(
    batch.messages.map((message) => consumeMessage(message, (dispatch) => consume(dispatch, env, ctx))),
  );
}

/** One `ack()` or `retry()` a message. */
async function consumeMessage(message: Message, consume: (dispatch: Dispatch) => Promise<void>): Promise<void> {
  // That this invocation ends is all it is for (docs/decisions/queue-scaling.md).
  if (scaleSchema.safeParse(message.body).success) return message.ack();
  const dispatch = dispatchSchema.safeParse(message.body);
  if (!dispatch.success) {
    logEvent("message_dropped", { message: message.id, reason: "not a dispatch" });
    message.ack();
    return;
  }
  try {
    await consume(dispatch.data);
    message.ack();
  } catch (error) {
    logFailure(
      "message_failed",
      { batch: dispatch.data.batchId, dispatch: dispatch.data.token, attempts: message.attempts },
      error,
    );
    message.retry({
      delaySeconds: doublingPause(MIN_RETRY_DELAY_SECONDS, MAX_RETRY_DELAY_SECONDS, message.attempts - 1),
    });
  }
}

/** @throws when the batch's coordinator cannot be reached: the dispatch is still unclaimed. */
async function consumeDispatch({ batchId, token }: Dispatch, env: Env, ctx: ExecutionContext): Promise<void> {
  const settings = settingsOf(env);
  // A stub that threw once may stay broken (developers.cloudflare.com/durable-objects/best-practices/error-handling):
  // each call has its own.
  const coordinator = () => env.COORDINATORS.getByName(batchId);
  const claim = fillClaimReply(await coordinator().claim(token));
  if (claim.kind !== "run") {
    logEvent("dispatch", { batch: batchId, dispatch: token, end: claim.kind });
    return;
  }
  const run = new DispatchRun({
    token,
    claim,
    ...(await findUpstream(settings, claim.batch)),
    bucket: env.BUCKET,
    report: (report) => coordinator().report(report),
  });
  const work = logRun(run, claim.batch, token);
  // Local queues hand out one message batch at a time: docs/decisions/local-consumers.md.
  if (settings.consumerWaits) await work;
  else ctx.waitUntil(work);
}

async function consumeDeadLetter({ batchId, token }: Dispatch, env: Env): Promise<void> {
  logEvent("dispatch", { batch: batchId, dispatch: token, end: "dead_letter" });
  await env.COORDINATORS.getByName(batchId).deadLettered(token);
}

async function logRun(run: DispatchRun, { batchId, upstream }: BatchContext, token: string): Promise<void> {
  const startedAt = Date.now();
  const summary = await run.run();
  logEvent("dispatch", { batch: batchId, dispatch: token, upstream, ms: Date.now() - startedAt, ...summary });
}

/** The upstream, and the key that goes there in place of the configured one. */
async function findUpstream(settings: Settings, { batchId, upstream, sealedKey }: BatchContext): Promise<Destination> {
  const found = settings.upstreams.get(upstream) ?? null;
  if (sealedKey === null) return { upstream: found, apiKey: null, isKeyUnreadable: false };
  try {
    const apiKey = await openSealedKey(settings.encryptionKey ?? "", batchId, sealedKey);
    return { upstream: found, apiKey, isKeyUnreadable: false };
  } catch (error) {
    // It was sealed under another ENCRYPTION_KEY than today's.
    logFailure("guest_key_unreadable", { batch: batchId }, error);
    return { upstream: found, apiKey: null, isKeyUnreadable: true };
  }
}
