/** Reads a batch's input file once, as a stream, and says whether it may run. Holds one line at a time. */
import { createHash } from "node:crypto";
import { readInBlocks } from "../byte-blocks.ts";
import { settingsOf } from "../config.ts";
import type { BatchRecord, LineProblem } from "../domain/batch.ts";
import { LineSplitter } from "../domain/jsonl.ts";
import { MAX_LINE_BYTES } from "../domain/limits.ts";
import { ok, refuse, type Result } from "../domain/result.ts";
import { cutSlices, type Slice } from "../domain/slices.ts";
import { missingInput, UNREADABLE_INPUT } from "../protocol/batch-problems.ts";
import { ENDPOINTS } from "../protocol/endpoints.ts";
import { type AcceptedInput, InputCheck } from "../protocol/input-check.ts";
import { findInputFile, openFile } from "../stores/files.ts";
import { openDatabase } from "../stores/schema.ts";
import type { BatchStorage } from "./storage.ts";

export interface ValidInput {
  readonly slices: readonly Slice[];
  /** The one model that all lines name; null when they differ. */
  readonly model: string | null;
}

export type Verdict = Result<ValidInput, readonly LineProblem[]>;

/**
 * @param mayGoOn asked after every read: false ends the work.
 * @returns the verdict, or null when the work was ended.
 */
async function validateInput(env: Env, batch: BatchRecord, mayGoOn: () => boolean): Promise<Verdict | null> {
  const body = await openInput(env, batch);
  if (body === null) return refuse([missingInput(batch)]);
  const endpoint = ENDPOINTS[batch.endpoint];
  if (endpoint === undefined) throw new Error(`there is no endpoint ${batch.endpoint}`);
  const { upstreams, maxLinesPerBatch } = settingsOf(env);
  const models = upstreams.get(batch.upstream)?.models ?? null;
  const check = new InputCheck({ path: batch.endpoint, endpoint, models, maxLines: maxLinesPerBatch, digest });
  const splitter = new LineSplitter(MAX_LINE_BYTES, (line) => check.addLine(line));
  for await (const block of readInBlocks(body)) {
    splitter.push(block);
    if (!mayGoOn()) break;
  }
  if (!mayGoOn()) {
    await body.cancel();
    return null;
  }
  splitter.end();
  const verdict = check.verdict();
  return verdict.ok ? ok(toValidInput(verdict.value)) : verdict;
}

/** An input whose validation ended the object this often, without a word, is not tried again. */
const MAX_VALIDATIONS = 5;

/** As `validateInput`; tries that ended the object are counted in `storage`. A failure that can be told is none that kills. */
export async function tryValidation(
  env: Env,
  batch: BatchRecord,
  { storage, mayGoOn }: { readonly storage: BatchStorage; readonly mayGoOn: () => boolean },
): Promise<Verdict | null> {
  const tries = storage.readValidationTries();
  if (tries >= MAX_VALIDATIONS) return refuse([UNREADABLE_INPUT]);
  storage.writeValidationTries(tries + 1);
  try {
    return await validateInput(env, batch, mayGoOn);
  } catch (error) {
    storage.writeValidationTries(0);
    throw error;
  }
}

async function openInput(env: Env, batch: BatchRecord): Promise<ReadableStream<Uint8Array> | null> {
  const file = await findInputFile(await openDatabase(env.DB), batch);
  if (file?.purpose !== "batch") return null;
  return openFile(env.BUCKET, file.id);
}

function toValidInput({ lineStarts, end, model }: AcceptedInput): ValidInput {
  return { slices: cutSlices(lineStarts, end), model };
}

/** As UTF-16, which tells lone surrogates apart; UTF-8 does not. */
function digest(text: string): string {
  return createHash("sha256").update(text, "utf16le").digest("base64");
}
