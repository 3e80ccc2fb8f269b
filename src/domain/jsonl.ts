/**
 * Cuts a stream of bytes into lines without holding more than one of them. Knows nothing of what a line
 * means, and does not decode: a line is bytes up to, and without, its `\n`.
 */

export interface ByteLine {
  /** A view that is valid only during the call; null when the line is longer than the limit. */
  readonly bytes: Uint8Array | null;
  /** Offset of its first byte in the file. */
  readonly start: number;
  /** Offset behind its line break, or of the end of the file. */
  readonly end: number;
}

const LINE_BREAK = 0x0a;

export class LineSplitter {
  readonly #maxLineBytes: number;
  readonly #onLine: (line: ByteLine) => void;
  /** Pieces of the line that is not complete yet; dropped once they exceed the limit. */
  #pieces: Uint8Array[] = [];
  #pieceBytes = 0;
  #start = 0;
  #position = 0;

  constructor(maxLineBytes: number, onLine: (line: ByteLine) => void) {
    this.#maxLineBytes = maxLineBytes;
    this.#onLine = onLine;
  }

  /** @param chunk may be reused by the caller afterwards. */
  push(chunk: Uint8Array): void {
    let from = 0;
    for (;;) {
      const at = chunk.indexOf(LINE_BREAK, from);
      if (at === -1) break;
      this.#emit(chunk.subarray(from, at), this.#position + at + 1);
      from = at + 1;
    }
    this.#keep(chunk.subarray(from));
    this.#position += chunk.length;
  }

  /** A last line without a line break counts as one; an empty rest does not. */
  end(): void {
    if (this.#pieceBytes > 0) this.#emit(new Uint8Array(0), this.#position);
  }

  #keep(rest: Uint8Array): void {
    if (rest.length === 0) return;
    this.#pieceBytes += rest.length;
    if (this.#pieceBytes <= this.#maxLineBytes) this.#pieces.push(rest.slice());
    else this.#pieces = [];
  }

  #emit(tail: Uint8Array, end: number): void {
    const length = this.#pieceBytes + tail.length;
    const bytes = length > this.#maxLineBytes ? null : this.#join(tail);
    this.#onLine({ bytes, start: this.#start, end });
    this.#pieces = [];
    this.#pieceBytes = 0;
    this.#start = end;
  }

  #join(tail: Uint8Array): Uint8Array {
    if (this.#pieceBytes === 0) return tail;
    const joined = new Uint8Array(this.#pieceBytes + tail.length);
    let offset = 0;
    for (const piece of this.#pieces) {
      joined.set(piece, offset);
      offset += piece.length;
    }
    joined.set(tail, offset);
    return joined;
  }
}
