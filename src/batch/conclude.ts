/** The end of a batch: clients see its final state, then everything it no longer needs is removed. Repeatable. */
import { saveFinalBatch, isInputHeld } from "../stores/batches.ts";
import { deleteChunks } from "../stores/chunks.ts";
import { isFileHidden, removeFile } from "../stores/files.ts";
import { openDatabase } from "../stores/schema.ts";
import type { FinalState } from "./ledger-rows.ts";

/** The files' rows and the final status appear together. */
export async function publishFinal(env: Env, { record, files }: FinalState): Promise<void> {
  await saveFinalBatch(await openDatabase(env.DB), record, files);
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
