/** Turns claimed slices into lines that can be sent. Knows nothing of running them. */
import type { ClaimedSlice } from "../domain/slices.ts";
import { readRequest } from "../protocol/request-line.ts";
import { readInputLines } from "../stores/input-lines.ts";

/** A line that is ready to be sent. */
export interface ReadyLine {
  readonly line: number;
  readonly sliceIndex: number;
  readonly attempts: number;
  readonly customId: string;
  /** The request body's own text. */
  readonly body: string;
}

/**
 * The claimed lines of all slices, in order; null when the input's bytes are not there.
 * @throws what R2 throws.
 */
export async function readSliceLines(
  bucket: R2Bucket,
  inputFileId: string,
  slices: readonly ClaimedSlice[],
): Promise<readonly ReadyLine[] | null> {
  const lines = await readInputLines(bucket, inputFileId, slices);
  return lines?.map(({ text, ...line }) => ({ ...line, ...readRequest(text) })) ?? null;
}
