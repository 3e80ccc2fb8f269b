/** Turns what a client ordered into a batch, and hands it to the coordinator that will run it. */
import type { Settings, Upstream } from "../config.ts";
import { type BatchRecord, NO_TIMES } from "../domain/batch.ts";
import { newId } from "../new-id.ts";
import type { BatchOrder } from "../protocol/batch-order.ts";
import { unsupportedOwnValue } from "../protocol/refusal.ts";
import { NOT_STARTED, notAnInput } from "../protocol/request-problems.ts";
import { findFile } from "../stores/files.ts";
import { sealKey } from "../stores/sealed-key.ts";
import { ApiError, tryAgain } from "./api-error.ts";
import { type Caller, UPSTREAM_HEADER } from "./caller.ts";
import { checkLiveBatches } from "./guest-limits.ts";

export interface NewBatch {
  readonly order: BatchOrder;
  /** As the client named it; undefined: the deployment's default. */
  readonly upstreamName: string | undefined;
  readonly caller: Caller;
  readonly settings: Settings;
  readonly env: Env;
  readonly db: D1Database;
}

/** @throws ApiError 400, 429 for a guest with too many batches, or 503 when no coordinator would take it. */
export async function createBatch(wanted: NewBatch): Promise<BatchRecord> {
  const upstream = pickUpstream(wanted.upstreamName, wanted.settings);
  await checkInputPurpose(wanted);
  await checkLiveBatches(wanted, upstream.name);
  const batch = toRecord(wanted, upstream, new Date());
  const sealedKey = await sealGuestKey(wanted, batch.id);
  const started = await wanted.env.COORDINATORS.getByName(batch.id).start({ batch, sealedKey });
  if (!started.ok) throw tryAgain(NOT_STARTED);
  return started.batch;
}

function pickUpstream(name: string | undefined, { upstreams, defaultUpstream }: Settings): Upstream {
  if (name === undefined) return defaultUpstream;
  const upstream = upstreams.get(name);
  if (upstream !== undefined) return upstream;
  throw new ApiError(400, unsupportedOwnValue(UPSTREAM_HEADER, name, [...upstreams.keys()]));
}

/** A file that cannot be found is no mistake yet: validation says so later, as OpenAI's does. */
async function checkInputPurpose({ db, caller, order }: NewBatch): Promise<void> {
  const file = await findFile(db, { tenant: caller.tenant, id: order.inputFileId, now: new Date() });
  if (file === null || file.purpose === "batch") return;
  throw new ApiError(400, notAnInput(file));
}

function toRecord({ order, caller, settings }: NewBatch, upstream: Upstream, now: Date): BatchRecord {
  const windowSeconds = settings.completionWindows.get(order.completionWindow);
  if (windowSeconds === undefined) throw new Error(`the order passed with an unknown window ${order.completionWindow}`);
  return {
    id: newId("batch_", now),
    tenant: caller.tenant,
    status: "validating",
    endpoint: order.endpoint,
    inputFileId: order.inputFileId,
    completionWindow: order.completionWindow,
    upstream: upstream.name,
    model: null,
    metadata: order.metadata,
    errors: null,
    usage: null,
    outputFileId: null,
    errorFileId: null,
    outputExpiresAfterSeconds: order.outputExpiresAfterSeconds,
    counts: { total: 0, completed: 0, failed: 0 },
    createdAt: now,
    expiresAt: new Date(now.getTime() + windowSeconds * 1000),
    times: NO_TIMES,
  };
}

async function sealGuestKey({ caller, settings }: NewBatch, batchId: string): Promise<string | null> {
  if (caller.guestKey === null) return null;
  if (settings.encryptionKey === null) throw new Error("a guest's key came in, but there is no key to seal it with");
  return sealKey(settings.encryptionKey, batchId, caller.guestKey);
}
