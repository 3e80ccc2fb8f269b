/**
 * What a batch lists as its `errors` when no single line is at fault: about its input file as a whole, or about
 * what happened to the batch since. Those of a line are in `request-line.ts`.
 */
import type { BatchRecord, LineProblem } from "../domain/batch.ts";
import { MAX_EMBEDDING_INPUTS } from "../domain/limits.ts";

export const EMPTY_FILE: LineProblem = {
  code: "empty_file",
  message: "The input file is empty. Please ensure that the batch contains at least one request.",
  param: null,
  line: null,
};

/** Ours: the state in which a batch was is gone, and with it what its lines had come to. */
export const LOST_STATE: LineProblem = serverError("The state of this batch was lost.");

export const UNWRITTEN_RESULTS: LineProblem = serverError("The result files could not be written for 24 hours.");

export function tooManyRequests(count: number, most: number): LineProblem {
  return { code: "too_many_tasks", message: tooMany("requests", count, most), param: null, line: null };
}

export function tooManyEmbeddingInputs(count: number): LineProblem {
  const message = tooMany("embedding inputs", count, MAX_EMBEDDING_INPUTS);
  return { code: "too_many_embedding_inputs", message, param: "body.input", line: null };
}

/** The last entry of a list that is cut. */
export function moreErrors(count: number): LineProblem {
  const message = `There are ${count} more errors in this file.`;
  return { code: "too_many_errors", message, param: null, line: null };
}

/** platform.openai.com says so of files that are unknown, of another tenant, deleted or expired. */
export function missingInput({ inputFileId, tenant }: BatchRecord): LineProblem {
  return wrongFile(`Cannot find file ${inputFileId}, or organization ${tenant} does not have access to it.`);
}

/** It was there when the batch was validated. */
export function lostInput({ inputFileId }: BatchRecord): LineProblem {
  return wrongFile(`The bytes of file ${inputFileId} are no longer available.`);
}

function tooMany(what: string, count: number, most: number): string {
  return `The input file contains ${count} ${what}. A batch may contain at most ${most} ${what}.`;
}

function wrongFile(message: string): LineProblem {
  return { code: "invalid_request", message, param: "file_id", line: null };
}

function serverError(message: string): LineProblem {
  return { code: "server_error", message, param: null, line: null };
}
