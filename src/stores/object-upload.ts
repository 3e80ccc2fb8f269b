/**
 * Writes one R2 object whose length is not known beforehand, in bounded memory: one buffer for a part, and a
 * smaller one for what arrives while that part is on its way. What is shorter than a part is put in one piece.
 */
import { MAX_UPLOAD_HELD_BYTES, UPLOAD_PART_BYTES } from "../domain/limits.ts";

const OVERFLOW_BYTES = MAX_UPLOAD_HELD_BYTES - UPLOAD_PART_BYTES;

export class ObjectUpload {
  readonly #bucket: R2Bucket;
  readonly #key: string;
  readonly #parts: R2UploadedPart[] = [];
  #multipart: R2MultipartUpload | null = null;
  /** Grows up to a part: many small uploads at once must fit an isolate. */
  #part = new Uint8Array(0);
  #partBytes = 0;
  /** The part is on its way, and its buffer must not be touched until this has settled; null: it is being filled. */
  #sending: Promise<void> | null = null;
  /** Takes what arrives meanwhile. Made when it is first needed. */
  #overflow: Uint8Array<ArrayBuffer> | null = null;
  #overflowBytes = 0;
  #mayExist = false;

  constructor(bucket: R2Bucket, key: string) {
    this.#bucket = bucket;
    this.#key = key;
  }

  /** Copies the bytes, and waits while both buffers are full. */
  async write(bytes: Uint8Array): Promise<void> {
    let rest = bytes;
    while (rest.length > 0) {
      if (this.#sending !== null && this.#overflowBytes === OVERFLOW_BYTES) await this.#endPart();
      // A full part is sent only when more follows: a file of just one part is put in one piece.
      if (this.#sending === null && this.#partBytes === UPLOAD_PART_BYTES) await this.#startPart();
      const taken = this.#sending === null ? this.#fillPart(rest) : this.#fillOverflow(rest);
      rest = rest.subarray(taken);
    }
  }

  /** The object exists once this has returned. */
  async finish(): Promise<void> {
    this.#mayExist = true;
    if (this.#multipart === null) {
      await this.#bucket.put(this.#key, this.#part.subarray(0, this.#partBytes));
      return;
    }
    await this.#endPart();
    await this.#sendPart(this.#multipart, this.#part.subarray(0, this.#partBytes));
    await this.#multipart.complete(this.#parts);
  }

  /** Leaves neither parts nor object, however far the upload came; `finish` included. */
  async abort(): Promise<void> {
    await this.#sending?.catch(() => undefined);
    // A completed upload cannot be aborted, and knows so only by throwing.
    await this.#multipart?.abort().catch(() => undefined);
    if (this.#mayExist) await this.#bucket.delete(this.#key);
  }

  #fillPart(bytes: Uint8Array): number {
    const fitting = bytes.subarray(0, UPLOAD_PART_BYTES - this.#partBytes);
    const needed = this.#partBytes + fitting.length;
    if (needed > this.#part.length) {
      const doubled = Math.max(needed, 2 * this.#part.length);
      // While it is copied there are two of it: beside a whole part there is room for just OVERFLOW_BYTES.
      const grown = doubled > OVERFLOW_BYTES ? UPLOAD_PART_BYTES : doubled;
      // The smaller one is given up at once, not at the next garbage collection.
      this.#part = new Uint8Array(this.#part.buffer.transfer(grown));
    }
    this.#part.set(fitting, this.#partBytes);
    this.#partBytes = needed;
    return fitting.length;
  }

  #fillOverflow(bytes: Uint8Array): number {
    this.#overflow ??= new Uint8Array(OVERFLOW_BYTES);
    const fitting = bytes.subarray(0, OVERFLOW_BYTES - this.#overflowBytes);
    this.#overflow.set(fitting, this.#overflowBytes);
    this.#overflowBytes += fitting.length;
    return fitting.length;
  }

  async #startPart(): Promise<void> {
    this.#multipart ??= await this.#bucket.createMultipartUpload(this.#key);
    this.#sending = this.#sendPart(this.#multipart, this.#part);
    // Whoever waits for it next learns of a failure; until then it must not count as unhandled.
    this.#sending.catch(() => undefined);
  }

  /** Waits for the part that is on its way, and begins the next one with what has arrived since. */
  async #endPart(): Promise<void> {
    if (this.#sending === null) return;
    await this.#sending;
    this.#sending = null;
    this.#partBytes = 0;
    if (this.#overflow !== null) this.#fillPart(this.#overflow.subarray(0, this.#overflowBytes));
    this.#overflowBytes = 0;
  }

  async #sendPart(multipart: R2MultipartUpload, bytes: Uint8Array): Promise<void> {
    this.#parts.push(await multipart.uploadPart(this.#parts.length + 1, bytes));
  }
}
