/**
 * How a batch is brought to its end, once nothing is in flight: every line without a result gets its error line, the result
 * files are written, D1 shows them together with the final status, and what is no longer needed is removed. Every step can
 * be repeated, and is, when it was cut off. The stages are drawn in state.ts.
 */
import { settingsOf } from "../config.ts";
import { type BatchRecord, isFinal, type LineProblem, move, type Usage } from "../domain/batch.ts";
import { isRefusedForGood } from "../domain/breaker.ts";
import type { StoredChunk } from "../domain/chunk.ts";
import { NO_USAGE } from "../domain/usage.ts";
import { logEvent } from "../log.ts";
import { LOST_STATE, lostInput, UNWRITTEN_RESULTS } from "../protocol/batch-problems.ts";
import { type MissingReason, UPSTREAM_GONE } from "../protocol/result-line.ts";
import { findBatch, isInputHeld, saveFinalBatch } from "../stores/batches.ts";
import { deleteChunks, findLostChunks } from "../stores/chunks.ts";
import { isFileHidden, removeFile } from "../stores/files.ts";
import { openDatabase } from "../stores/schema.ts";
import { writeResultFiles } from "./finalize.ts";
import type { LiveBatch } from "./live-batch.ts";
import { logStatus } from "./log-status.ts";
import { type MissingResults, writeMissingResults } from "./missing-results.ts";
import type { EarlyEnding, Ending, FinalState } from "./state.ts";
import type { BatchStorage } from "./storage.ts";

/** After this time, and at least this many tries, the batch ends without its files. */
const FINALIZE_PATIENCE_MS = 86_400_000;
const MIN_FINALIZE_TRIES = 10;

const UNEXECUTED_REASONS: Readonly<Record<EarlyEnding, MissingReason>> = {
  cancelled: "batch_cancelled",
  expired: "batch_expired",
  failed: "input_file_unavailable",
};

type SettledSlices = Pick<MissingResults, "reason" | "slices"> & Partial<Pick<MissingResults, "answer">>;

/** Writes the result files of a batch in stage `finalizing`, or gives them up. */
export async function finalize(env: Env, live: LiveBatch, storage: BatchStorage): Promise<void> {
  live.stopWaiting();
  const { stage } = live;
  if (stage.kind !== "finalizing") return;
  const { since, tries } = storage.readFinalizeTries() ?? { since: Date.now(), tries: 0 };
  if (tries >= MIN_FINALIZE_TRIES && Date.now() > since + FINALIZE_PATIENCE_MS) {
    logEvent("results_given_up", { batch: live.record.id, tries });
    live.recordFinal(withoutResults(live.record, stage.ending));
    return;
  }
  storage.writeFinalizeTries({ since, tries: tries + 1 });
  await settleUnexecuted(env, live, stage.ending);
  // Only a try that was cut off can have left chunks of which nobody knows whether they are still there.
  if (tries > 0) await settleLost(env, live, stage.ending);
  live.recordFinal(await writeResults(env, live, stage.ending));
}

/** The files' rows and the final status appear together; then everything that the batch no longer needs goes. */
export async function publishFinal(env: Env, live: LiveBatch, final: FinalState): Promise<void> {
  await saveFinalBatch(await openDatabase(env.DB), final.record, final.files);
  live.markPublished(final);
}

/** Chunks go; so does an input file that was deleted while the batch needed it, unless another one still does. */
export async function removeLeftovers(env: Env, { record }: FinalState): Promise<void> {
  await deleteChunks(env.BUCKET, record.id);
  const db = await openDatabase(env.DB);
  const fileId = record.inputFileId;
  if ((await isFileHidden(db, fileId)) && !(await isInputHeld(db, fileId, record.id))) {
    await removeFile(db, env.BUCKET, fileId);
  }
}

/** A batch that D1 lists and no object has: its start was cut off, or D1 was set back to an older state. */
export async function failOrphan(env: Env, copy: BatchRecord): Promise<void> {
  const db = await openDatabase(env.DB);
  const known = await findBatch(db, copy.tenant, copy.id);
  if (known === null || isFinal(known.status)) return;
  const record = move({ ...known, status: "validating", errors: [LOST_STATE] }, "failed", new Date());
  await saveFinalBatch(db, record, []);
  logStatus(record);
}

/** Validation has found the input to be no good. */
export function refuseInput(live: LiveBatch, problems: readonly LineProblem[]): void {
  const record = move({ ...live.record, errors: problems }, "failed", new Date());
  live.recordFinal({ record, files: [] });
}

/** Lines that too many consumers died with are settled without a result. */
export async function settleLostLines(env: Env, live: LiveBatch): Promise<void> {
  const slices = live.isRunning ? live.ledger.lostSlices() : [];
  if (slices.length > 0) await settleSlices(env, live, { reason: "consumer_lost", slices });
}

/**
 * A guest's key that is refused for ten minutes is mended by nobody: whatever is left of its batch gets the answer with which
 * it was refused.
 */
export async function settleRefused(env: Env, live: LiveBatch): Promise<void> {
  if (!live.isGuest || !isRefusedForGood(live.pause, new Date())) return;
  const answer = live.pause?.failure ?? null;
  live.stopWaiting();
  logEvent("guest_refused", { batch: live.record.id });
  await settleSlices(env, live, { reason: "upstream_refused", slices: live.ledger.unsettledSlices(), answer });
}

async function settleUnexecuted(env: Env, live: LiveBatch, ending: Ending): Promise<void> {
  if (ending === "completed") return;
  const isUpstreamGone = ending === "expired" && !settingsOf(env).upstreams.has(live.record.upstream);
  await settleRest(env, live, { reason: UNEXECUTED_REASONS[ending], answer: isUpstreamGone ? UPSTREAM_GONE : null });
}

/** Lines whose results R2 has no more are settled again: with their old reason if they never ran, else as lost. */
async function settleLost(env: Env, live: LiveBatch, ending: Ending): Promise<void> {
  const lost = await findLostChunks(env.BUCKET, live.record.id, live.chunks());
  if (ending !== "completed") {
    live.loseChunks(lost.filter(isUnexecuted));
    await settleUnexecuted(env, live, ending);
  }
  live.loseChunks(lost.filter((chunk) => !isUnexecuted(chunk)));
  await settleRest(env, live, { reason: "result_lost" });
}

async function settleRest(env: Env, live: LiveBatch, { reason, answer = null }: Omit<SettledSlices, "slices">) {
  const missing = { batch: live.record, reason, answer, slices: live.ledger.unsettledSlices(), now: new Date() };
  for await (const chunk of writeMissingResults(env.BUCKET, missing)) live.settleMissing(chunk);
}

/** The batch goes on with what is left, and finalizes when nothing is. */
async function settleSlices(env: Env, live: LiveBatch, work: SettledSlices): Promise<void> {
  const missing = { batch: live.record, answer: null, ...work, now: new Date() };
  for await (const chunk of writeMissingResults(env.BUCKET, missing)) live.settleMissing(chunk);
  live.finalizeWhenSettled(new Date());
}

async function writeResults(env: Env, live: LiveBatch, ending: Ending): Promise<FinalState> {
  const { record } = live;
  const results = { batch: record, chunks: live.chunks(), createdAt: endOf(record, ending) };
  const { output, error } = await writeResultFiles(env.BUCKET, results);
  const errors = ending === "failed" ? [lostInput(record)] : null;
  const fileIds = { outputFileId: output?.id ?? null, errorFileId: error?.id ?? null };
  return {
    record: { ...move(live.record, ending, new Date()), ...fileIds, errors, usage: record.usage ?? usageOf(ending) },
    files: [output, error].filter((file) => file !== null),
  };
}

function withoutResults(record: BatchRecord, ending: Ending): FinalState {
  const status = ending === "completed" ? "failed" : ending;
  // OpenAI's batches have `errors` only when they failed.
  const errors = status === "failed" ? [UNWRITTEN_RESULTS] : null;
  return { record: { ...move(record, status, new Date()), errors }, files: [] };
}

/** When the result files count as created. Their ids follow from it: it must be the same whenever the step is repeated. */
function endOf({ times, expiresAt, createdAt }: BatchRecord, ending: Ending): Date {
  if (ending === "expired") return expiresAt;
  return times.finalizingAt ?? times.cancellingAt ?? times.inProgressAt ?? createdAt;
}

/** A chunk holds error lines of lines that never ran, or results, never both. */
function isUnexecuted({ lines }: StoredChunk): boolean {
  return lines.some(({ result }) => result === "unexecuted");
}

/** A batch that has run to its end says how much it used, and be it nothing. */
function usageOf(ending: Ending): Usage | null {
  return ending === "completed" ? NO_USAGE : null;
}
