/** Reads claimed slices from the input file: neighbours with one ranged read. Knows nothing of running them. */
import { LineSplitter } from "../domain/jsonl.ts";
import { MAX_HANDED_BYTES, MAX_LINE_BYTES } from "../domain/limits.ts";
import { rawMember } from "../domain/raw-json.ts";
import { type ClaimedSlice, groupNeighbours } from "../domain/slices.ts";

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
 * The claimed lines of all slices, in order; null when the object is not there.
 * @throws what R2 throws.
 */
export async function readSliceLines(
  bucket: R2Bucket,
  key: string,
  slices: readonly ClaimedSlice[],
): Promise<readonly ReadyLine[] | null> {
  const lines: ReadyLine[] = [];
  for (const neighbours of groupNeighbours(slices, MAX_HANDED_BYTES)) {
    const first = neighbours[0];
    const length = neighbours.reduce((bytes, { byteLength }) => bytes + byteLength, 0);
    if (first === undefined) continue;
    const object = await bucket.get(key, { range: { offset: first.byteStart, length } });
    if (object === null) return null;
    lines.push(...pickLines(new Uint8Array(await object.arrayBuffer()), neighbours));
  }
  return lines;
}

function pickLines(bytes: Uint8Array, slices: readonly ClaimedSlice[]): ReadyLine[] {
  const wanted = new Map(slices.flatMap(({ index, lines }) => lines.map((line) => [line.line, { index, ...line }])));
  const decoder = new TextDecoder();
  const picked: ReadyLine[] = [];
  let number = slices[0]?.firstLine ?? 0;
  const splitter = new LineSplitter(MAX_LINE_BYTES, ({ bytes: lineBytes }) => {
    const claimed = wanted.get(number);
    number += 1;
    if (claimed === undefined || lineBytes === null) return;
    const text = decoder.decode(lineBytes);
    // Validation has seen both members in this line.
    const customId = JSON.parse(rawMember(text, "custom_id") ?? '""') as string;
    const body = rawMember(text, "body") ?? "{}";
    picked.push({ line: claimed.line, sliceIndex: claimed.index, attempts: claimed.attempts, customId, body });
  });
  splitter.push(bytes);
  splitter.end();
  return picked;
}
