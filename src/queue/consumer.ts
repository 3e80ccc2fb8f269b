/** Takes messages from the queues: a dispatch is claimed and worked for, a dead letter is told to its coordinator. */
import * as z from "zod";
import { type Settings, settingsOf } from "../config.ts";
import { doublingPause } from "../domain/backoff.ts";
import type { BatchContext, Dispatch, NextClaim } from "../domain/conversation.ts";
import { fillClaimReply, fillNextClaim } from "../domain/other-version.ts";
import { logEvent, logFailure } from "../log.ts";
import { openSealedKey } from "../stores/sealed-key.ts";
import type { DispatchOrder } from "./dispatch-order.ts";
import { DispatchRun } from "./dispatch-run.ts";
import { FurtherWork } from "./further-work.ts";
import { Invocation } from "./invocation.ts";

/** The queue whose name ends so holds what other queues gave up on. */
const DEAD_LETTERS_SUFFIX = "dead-letters";
const MIN_RETRY_DELAY_SECONDS = 10;
const MAX_RETRY_DELAY_SECONDS = 300;

/** A dispatch that is taken on later than this before the last line may start would have no time for its lines. */
const LEAST_WORK_MS = 10_000;

type Claimed = NonNullable<NextClaim>;

interface Surroundings {
  readonly settings: Settings;
  readonly env: Env;
}

interface Place extends Surroundings {
  readonly invocation: Invocation;
}

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
  const claim = fillClaimReply(await env.COORDINATORS.getByName(batchId).claim(token));
  if (claim.kind !== "run") {
    logEvent("dispatch", { batch: batchId, dispatch: token, end: claim.kind });
    return;
  }
  const work = runInvocation({ ...claim, token }, { settings, env });
  // Local queues hand out one message batch at a time: docs/decisions/local-consumers.md.
  if (settings.consumerWaits) await work;
  else ctx.waitUntil(work);
}

async function consumeDeadLetter({ batchId, token }: Dispatch, env: Env): Promise<void> {
  logEvent("dispatch", { batch: batchId, dispatch: token, end: "dead_letter" });
  await env.COORDINATORS.getByName(batchId).deadLettered(token);
}

/** Works for a dispatch, and for others beside it while slots are idle. Never rejects. */
async function runInvocation(first: Claimed, { settings, env }: Surroundings): Promise<void> {
  const invocation = new Invocation(settings.linesPerInvocation);
  const work = (claimed: Claimed) => runDispatch(claimed, { settings, env, invocation });
  const { pacerName, upstream } = first.batch;
  // What has no more to come is one line, which probes, or runs alone because consumers have died with it.
  if (pacerName === undefined || !first.mayHaveMore) return work(first);
  const timeoutSeconds = settings.upstreams.get(upstream)?.timeoutSeconds ?? 0;
  const further = new FurtherWork({
    invocation,
    until: invocation.startsUntil(timeoutSeconds) - LEAST_WORK_MS,
    findWork: (slots) => env.PACERS.getByName(pacerName).findWork(slots),
    claimNext: async (batchId, slots) => fillNextClaim(await env.COORDINATORS.getByName(batchId).claimNext(slots)),
    work,
  });
  await further.runBeside(work(first));
}

/** Never rejects. */
async function runDispatch(claim: Claimed, { settings, env, invocation }: Place): Promise<void> {
  const startedAt = Date.now();
  const { token, batch } = claim;
  const { batchId, upstream } = batch;
  const run = new DispatchRun({
    token,
    claim,
    ...(await findUpstream(settings, batch)),
    bucket: env.BUCKET,
    // A stub that threw once may stay broken (developers.cloudflare.com/durable-objects/best-practices/error-handling):
    // each call has its own.
    report: (report) => env.COORDINATORS.getByName(batchId).report(report),
    invocation,
  });
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
