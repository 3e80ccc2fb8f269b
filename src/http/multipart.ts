/**
 * Cuts multipart/form-data (RFC 7578) into its parts while it arrives, holding no more than a chunk and the
 * head of one part. It reads nothing by itself and knows nothing about files or fields.
 */
import { type PartHead, readBoundary, readPartHead } from "./part-head.ts";
import { plainError } from "./api-error.ts";

export type MultipartEvent =
  | { readonly kind: "part"; readonly head: PartHead }
  /** Of the part that began last; valid until the next event is asked for. */
  | { readonly kind: "bytes"; readonly bytes: Uint8Array }
  | { readonly kind: "end" };

/** Ours. A head is two or three short lines; a filename may be 255 characters of 12 encoded bytes each. */
const MAX_HEAD_BYTES = 16 * 1024;
const MAX_PREAMBLE_BYTES = 64 * 1024;
const MAX_PADDING_BYTES = 256;

const CR = 13;
const LF = 10;
const DASH = 45;

const encoder = new TextEncoder();
const CRLF = encoder.encode("\r\n");
const HEAD_END = encoder.encode("\r\n\r\n");

export class MultipartScanner {
  readonly #delimiter: Uint8Array;
  #state: "preamble" | "boundary" | "head" | "body" | "closed" = "preamble";
  /** Bytes that mean nothing yet. The first delimiter may stand without the line break before it. */
  #held: Uint8Array = CRLF;
  #preambleBytes = 0;

  /** @throws ApiError 400 when the header names no multipart form. */
  constructor(contentType: string) {
    this.#delimiter = encoder.encode(`\r\n--${readBoundary(contentType)}`);
  }

  /** @throws ApiError 400 when it is not multipart. */
  *push(chunk: Uint8Array): Generator<MultipartEvent, void> {
    let bytes = concat(this.#held, chunk);
    for (;;) {
      const before = this.#state;
      bytes = yield* this.#scan(bytes);
      if (this.#state === before) break;
    }
    // Copied: the chunk's memory is about to be used again.
    this.#held = bytes.slice();
  }

  /** @throws ApiError 400 when the form is not complete. */
  finish(): void {
    if (this.#state !== "closed") throw malformed("it ends before its closing boundary");
  }

  /** Moves on by at most one state. @returns what is left to scan. */
  *#scan(bytes: Uint8Array): Generator<MultipartEvent, Uint8Array> {
    switch (this.#state) {
      case "preamble":
        return this.#scanPreamble(bytes);
      case "boundary":
        return this.#scanBoundary(bytes);
      case "head":
        return yield* this.#scanHead(bytes);
      case "body":
        return yield* this.#scanBody(bytes);
      case "closed":
        break;
    }
    return bytes.subarray(bytes.length);
  }

  #scanPreamble(bytes: Uint8Array): Uint8Array {
    const end = findDelimiter(bytes, this.#delimiter);
    this.#preambleBytes += end.at;
    if (this.#preambleBytes > MAX_PREAMBLE_BYTES) throw malformed("its boundary does not appear");
    return end.whole ? this.#enterBoundary(bytes, end.at) : bytes.subarray(end.at);
  }

  *#scanBody(bytes: Uint8Array): Generator<MultipartEvent, Uint8Array> {
    const end = findDelimiter(bytes, this.#delimiter);
    if (end.at > 0) yield { kind: "bytes", bytes: bytes.subarray(0, end.at) };
    if (!end.whole) return bytes.subarray(end.at);
    yield { kind: "end" };
    return this.#enterBoundary(bytes, end.at);
  }

  #enterBoundary(bytes: Uint8Array, at: number): Uint8Array {
    this.#state = "boundary";
    return bytes.subarray(at + this.#delimiter.length);
  }

  /** RFC 2046, 5.1.1: two dashes close the form; else blanks may stand before the line break. */
  #scanBoundary(bytes: Uint8Array): Uint8Array {
    if (bytes.length < 2) return bytes;
    if (bytes[0] === DASH && bytes[1] === DASH) {
      this.#state = "closed";
      return bytes.subarray(2);
    }
    const lineEnd = bytes.indexOf(LF);
    if (lineEnd === -1 && bytes.length <= MAX_PADDING_BYTES) return bytes;
    const padding = new TextDecoder().decode(bytes.subarray(0, Math.min(lineEnd, MAX_PADDING_BYTES)));
    if (!/^[ \t]*\r$/.test(padding)) throw malformed("a boundary is followed by something else than a line break");
    this.#state = "head";
    // With its line break, so that a head without lines ends like any other.
    return bytes.subarray(lineEnd - 1);
  }

  *#scanHead(bytes: Uint8Array): Generator<MultipartEvent, Uint8Array> {
    const end = findHeadEnd(bytes.subarray(0, MAX_HEAD_BYTES));
    if (end === -1) {
      if (bytes.length >= MAX_HEAD_BYTES) throw malformed("the head of a part is too long");
      return bytes;
    }
    const head = readPartHead(bytes.subarray(0, end));
    if (head === null) throw malformed("a part has no name");
    yield { kind: "part", head };
    this.#state = "body";
    return bytes.subarray(end + HEAD_END.length);
  }
}

/**
 * Where the delimiter begins, or where it may begin with the rest still to come; else the end. It holds
 * its only CR in front, so each CR of the bytes is one candidate, and the search is linear. A plain loop:
 * `indexOf` would be a call for each CR, which a file full of them turns into half a minute.
 */
function findDelimiter(bytes: Uint8Array, delimiter: Uint8Array): { readonly at: number; readonly whole: boolean } {
  for (let at = 0; at < bytes.length; at += 1) {
    if (bytes[at] === CR && agrees(bytes, at, delimiter)) return { at, whole: bytes.length - at >= delimiter.length };
  }
  return { at: bytes.length, whole: false };
}

function findHeadEnd(bytes: Uint8Array): number {
  for (let at = 0; at + HEAD_END.length <= bytes.length; at += 1) {
    if (bytes[at] === CR && agrees(bytes, at, HEAD_END)) return at;
  }
  return -1;
}

/** Whether the bytes from `at` on, as far as they go, are those of `pattern`. */
function agrees(bytes: Uint8Array, at: number, pattern: Uint8Array): boolean {
  const length = Math.min(pattern.length, bytes.length - at);
  for (let index = 0; index < length; index += 1) {
    if (bytes[at + index] !== pattern[index]) return false;
  }
  return true;
}

function concat(a: Uint8Array, b: Uint8Array): Uint8Array {
  if (a.length === 0) return b;
  const both = new Uint8Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}

function malformed(reason: string) {
  return plainError(400, `We could not parse the multipart form of your request: ${reason}.`);
}
