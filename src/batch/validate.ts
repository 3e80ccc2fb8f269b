/** Reads an input file once, as a stream, and says whether it may run. Holds one line at a time. */
import { createHash } from "node:crypto";
import { type AcceptedInput, InputCheck } from "../domain/input-check.ts";
import type { LineProblem } from "../domain/batch.ts";
import { LineSplitter } from "../domain/jsonl.ts";
import { MAX_LINE_BYTES } from "../domain/limits.ts";
import type { LineRules } from "../domain/request-line.ts";
import type { Result } from "../domain/result.ts";

/** A default reader hands out 4 KiB at a time, which takes three times as long. */
const READ_BYTES = 256 * 1024;

export interface Validation {
  readonly body: ReadableStream<Uint8Array>;
  readonly rules: LineRules & { readonly maxLines: number };
  /** Asked after every read: false ends the work, and there is no verdict. */
  readonly goesOn: () => boolean;
}

/** @returns the verdict, or null when it was stopped. */
export async function validateInput(
  validation: Validation,
): Promise<Result<AcceptedInput, readonly LineProblem[]> | null> {
  const check = new InputCheck({ ...validation.rules, digest });
  const splitter = new LineSplitter(MAX_LINE_BYTES, (line) => check.addLine(line));
  const reader = validation.body.getReader({ mode: "byob" });
  let buffer = new ArrayBuffer(READ_BYTES);
  for (;;) {
    const { done, value } = await reader.readAtLeast(READ_BYTES, new Uint8Array(buffer));
    if (!validation.goesOn()) {
      await reader.cancel();
      return null;
    }
    if (value !== undefined) {
      splitter.push(value);
      buffer = value.buffer as ArrayBuffer;
    }
    if (done) break;
  }
  splitter.end();
  return check.verdict();
}

function digest(text: string): string {
  return createHash("sha256").update(text).digest("base64");
}
