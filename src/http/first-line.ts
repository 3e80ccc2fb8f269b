/** Looks at the first line of a file while it passes by: an input file's is a JSON object. No I/O. */
import { parseObject } from "../protocol/json.ts";

/** Ours: a longer first line is only looked at where it begins; validation reads it as a whole. */
const MAX_READ_BYTES = 1024 * 1024;
const LF = 10;

export class FirstLine {
  #seen: Uint8Array[] = [];
  #seenBytes = 0;
  #verdict: boolean | null = null;

  /** False as soon as it is known that the file does not begin with a JSON object; null while it is open. */
  get isObject(): boolean | null {
    return this.#verdict;
  }

  push(bytes: Uint8Array): void {
    if (this.#verdict !== null) return;
    const lineEnd = bytes.indexOf(LF);
    const kept = bytes.slice(0, lineEnd === -1 ? MAX_READ_BYTES + 1 : lineEnd);
    this.#seen.push(kept);
    this.#seenBytes += kept.length;
    if (lineEnd !== -1 || this.#seenBytes > MAX_READ_BYTES) this.finish();
  }

  /** The file ends here. */
  finish(): void {
    if (this.#verdict !== null) return;
    this.#verdict = this.#judge();
    this.#seen = [];
  }

  #judge(): boolean {
    // The decoder drops a byte-order mark; validation reports it later, with its line.
    const decoder = new TextDecoder();
    const text = this.#seen.map((bytes) => decoder.decode(bytes, { stream: true })).join("") + decoder.decode();
    if (this.#seenBytes > MAX_READ_BYTES) return text.trimStart().startsWith("{");
    return parseObject(text) !== null;
  }
}
