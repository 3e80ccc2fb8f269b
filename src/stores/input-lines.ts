/** Lines of an input file, read where its slices say that they are. What a line says is not looked at. */
import { LineSplitter } from "../domain/jsonl.ts";
import { MAX_HANDED_BYTES, MAX_LINE_BYTES } from "../domain/limits.ts";
import { type ClaimedLine, type ClaimedSlice, groupNeighbours } from "../domain/slices.ts";
import { fileKey } from "./object-keys.ts";

export interface InputLine extends ClaimedLine {
  readonly sliceIndex: number;
  /** Without its line break. */
  readonly text: string;
}

/**
 * The claimed lines of all slices, in order, neighbours with one ranged read; null when the bytes are gone.
 * @param slices in input order.
 * @throws what R2 throws, and when it gives fewer bytes than were asked for.
 */
export async function readInputLines(
  bucket: R2Bucket,
  fileId: string,
  slices: readonly ClaimedSlice[],
): Promise<readonly InputLine[] | null> {
  const lines: InputLine[] = [];
  for (const neighbours of groupNeighbours(slices, MAX_HANDED_BYTES)) {
    const offset = neighbours[0]?.byteStart ?? 0;
    const length = neighbours.reduce((bytes, { byteLength }) => bytes + byteLength, 0);
    const object = await bucket.get(fileKey(fileId), { range: { offset, length } });
    if (object === null) return null;
    const bytes = new Uint8Array(await object.arrayBuffer());
    // Cut JSON would be sent, and fail for good.
    if (bytes.length !== length) throw new Error(`R2 gave ${bytes.length} of ${length} bytes of the input`);
    lines.push(...pickLines(bytes, neighbours));
  }
  return lines;
}

function pickLines(bytes: Uint8Array, slices: readonly ClaimedSlice[]): InputLine[] {
  const wanted = new Map(
    slices.flatMap(({ index, lines }) => lines.map((line) => [line.line, { ...line, sliceIndex: index }])),
  );
  const decoder = new TextDecoder();
  const picked: InputLine[] = [];
  let number = slices[0]?.firstLine ?? 0;
  const splitter = new LineSplitter(MAX_LINE_BYTES, ({ bytes: lineBytes }) => {
    const claimed = wanted.get(number);
    number += 1;
    if (claimed === undefined || lineBytes === null) return;
    picked.push({ ...claimed, text: decoder.decode(lineBytes) });
  });
  splitter.push(bytes);
  splitter.end();
  return picked;
}
