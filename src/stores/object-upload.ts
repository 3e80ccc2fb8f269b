/**
 * Writes one R2 object whose length is not known beforehand, in bounded memory: two part buffers, the one
 * being filled while the other is on its way. What is shorter than a part is put in one piece.
 */
import { UPLOAD_PART_BYTES } from "../domain/limits.ts";

export class ObjectUpload {
  readonly #bucket: R2Bucket;
  readonly #key: string;
  readonly #parts: R2UploadedPart[] = [];
  #multipart: R2MultipartUpload | null = null;
  /** Grows up to a part: many small uploads at once must fit an isolate. */
  #filling = new Uint8Array(0);
  #filledBytes = 0;
  /** The other buffer, once there is one; it belongs to `#sending` until that has settled. */
  #spare: Uint8Array<ArrayBuffer> | null = null;
  #sending: Promise<void> = Promise.resolve();
  #mayExist = false;

  constructor(bucket: R2Bucket, key: string) {
    this.#bucket = bucket;
    this.#key = key;
  }

  /** Copies the bytes, and waits while both buffers are full. */
  async write(bytes: Uint8Array): Promise<void> {
    let rest = bytes;
    while (rest.length > 0) {
      // A full part is sent only when more follows: a file of just one part is put in one piece.
      if (this.#filledBytes === UPLOAD_PART_BYTES) await this.#startPart();
      const fitting = rest.subarray(0, UPLOAD_PART_BYTES - this.#filledBytes);
      this.#reserve(this.#filledBytes + fitting.length);
      this.#filling.set(fitting, this.#filledBytes);
      this.#filledBytes += fitting.length;
      rest = rest.subarray(fitting.length);
    }
  }

  /** The object exists once this has returned. */
  async finish(): Promise<void> {
    this.#mayExist = true;
    if (this.#multipart === null) {
      await this.#bucket.put(this.#key, this.#filling.subarray(0, this.#filledBytes));
      return;
    }
    await this.#sending;
    await this.#sendPart(this.#multipart, this.#filling.subarray(0, this.#filledBytes));
    await this.#multipart.complete(this.#parts);
  }

  /** Leaves neither parts nor object, however far the upload came; `finish` included. */
  async abort(): Promise<void> {
    await this.#sending.catch(() => undefined);
    // A completed upload cannot be aborted, and knows so only by throwing.
    await this.#multipart?.abort().catch(() => undefined);
    if (this.#mayExist) await this.#bucket.delete(this.#key);
  }

  #reserve(bytes: number): void {
    if (bytes <= this.#filling.length) return;
    const grown = new Uint8Array(Math.min(UPLOAD_PART_BYTES, Math.max(bytes, 2 * this.#filling.length)));
    grown.set(this.#filling.subarray(0, this.#filledBytes));
    this.#filling = grown;
  }

  async #startPart(): Promise<void> {
    await this.#sending;
    this.#multipart ??= await this.#bucket.createMultipartUpload(this.#key);
    const full = this.#filling;
    this.#filling = this.#spare ?? new Uint8Array(UPLOAD_PART_BYTES);
    this.#filledBytes = 0;
    this.#spare = full;
    this.#sending = this.#sendPart(this.#multipart, full);
    // Whoever waits for it next learns of a failure; until then it must not count as unhandled.
    this.#sending.catch(() => undefined);
  }

  async #sendPart(multipart: R2MultipartUpload, bytes: Uint8Array): Promise<void> {
    this.#parts.push(await multipart.uploadPart(this.#parts.length + 1, bytes));
  }
}
