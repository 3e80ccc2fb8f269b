/** Reads a batch's input file once, as a stream, and says whether it may run. Holds one line at a time. */
import { createHash } from "node:crypto";
import { settingsOf } from "../config.ts";
import type { BatchRecord, LineProblem } from "../domain/batch.ts";
import { ENDPOINTS } from "../domain/endpoints.ts";
import { type AcceptedInput, InputCheck } from "../domain/input-check.ts";
import { LineSplitter } from "../domain/jsonl.ts";
import { MAX_LINE_BYTES } from "../domain/limits.ts";
import { ok, refuse, type Result } from "../domain/result.ts";
import { cutSlices, type Slice } from "../domain/slices.ts";
import { findInputFile } from "../stores/files.ts";
import { fileKey } from "../stores/object-keys.ts";
import { openDatabase } from "../stores/schema.ts";

export interface ValidInput {
  readonly slices: readonly Slice[];
  /** The one model that all lines name; null when they differ. */
  readonly model: string | null;
}

export type Verdict = Result<ValidInput, readonly LineProblem[]>;

/** A default reader hands out 4 KiB at a time, which takes three times as long. */
const READ_BYTES = 256 * 1024;

/**
 * @param mayGoOn asked after every read: false ends the work.
 * @returns the verdict, or null when the work was ended.
 */
export async function validateInput(env: Env, batch: BatchRecord, mayGoOn: () => boolean): Promise<Verdict | null> {
  const body = await openInput(env, batch);
  if (body === null) return refuse([missingInput(batch)]);
  const endpoint = ENDPOINTS[batch.endpoint];
  if (endpoint === undefined) throw new Error(`there is no endpoint ${batch.endpoint}`);
  const { upstreams, maxLinesPerBatch } = settingsOf(env);
  const models = upstreams.get(batch.upstream)?.models ?? null;
  const check = new InputCheck({ path: batch.endpoint, endpoint, models, maxLines: maxLinesPerBatch, digest });
  const splitter = new LineSplitter(MAX_LINE_BYTES, (line) => check.addLine(line));
  const isWhole = await readThrough(body, (bytes) => {
    splitter.push(bytes);
    return mayGoOn();
  });
  if (!isWhole) return null;
  splitter.end();
  const verdict = check.verdict();
  return verdict.ok ? ok(toValidInput(verdict.value)) : verdict;
}

async function openInput(env: Env, batch: BatchRecord): Promise<ReadableStream<Uint8Array> | null> {
  const file = await findInputFile(await openDatabase(env.DB), batch);
  if (file?.purpose !== "batch") return null;
  const object = await env.BUCKET.get(fileKey(file.id));
  const body: ReadableStream<Uint8Array> | null = object?.body ?? null;
  return body;
}

/** @returns false when `take` did not want to go on. */
async function readThrough(body: ReadableStream<Uint8Array>, take: (bytes: Uint8Array) => boolean): Promise<boolean> {
  const reader = body.getReader({ mode: "byob" });
  let buffer = new ArrayBuffer(READ_BYTES);
  for (;;) {
    const { done, value } = await reader.readAtLeast(READ_BYTES, new Uint8Array(buffer));
    if (!take(value ?? new Uint8Array())) {
      await reader.cancel();
      return false;
    }
    if (done) return true;
    buffer = value.buffer;
  }
}

function toValidInput({ lineStarts, end, model }: AcceptedInput): ValidInput {
  return { slices: cutSlices(lineStarts, end), model };
}

/** platform.openai.com says so of files that are unknown, of another tenant, deleted or expired. */
function missingInput({ inputFileId, tenant }: BatchRecord): LineProblem {
  const message = `Cannot find file ${inputFileId}, or organization ${tenant} does not have access to it.`;
  return { code: "invalid_request", message, param: "file_id", line: null };
}

/** As UTF-16, which tells lone surrogates apart; UTF-8 does not. */
function digest(text: string): string {
  return createHash("sha256").update(text, "utf16le").digest("base64");
}
