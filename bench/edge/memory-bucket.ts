/**
 * R2 in memory, as far as batches use it. Of chunks and result files it keeps no more than how long they are.
 */
import { CHUNKS_PREFIX } from "../../src/stores/object-keys.ts";

interface ByteRange {
  readonly offset: number;
  readonly length: number;
}

interface StoredObject {
  readonly length: number;
  /** Null: only the length is kept. */
  readonly bytes: Uint8Array | null;
}

const encoder = new TextEncoder();

/** The part of a body that is read: whole, or through a BYOB reader. Zeros where bytes were not kept. */
class StoredBody {
  readonly #bytes: Uint8Array;

  constructor({ bytes, length }: StoredObject, range: ByteRange | null) {
    const { offset, length: wanted } = range ?? { offset: 0, length };
    this.#bytes = bytes?.subarray(offset, offset + wanted) ?? new Uint8Array(wanted);
  }

  get body(): this {
    return this;
  }

  arrayBuffer(): Promise<ArrayBufferLike> {
    return Promise.resolve(this.#bytes.slice().buffer);
  }

  getReader() {
    let at = 0;
    return {
      readAtLeast: (_: number, view: Uint8Array) => {
        const part = this.#bytes.subarray(at, at + view.length);
        at += part.length;
        if (part.length === 0) return Promise.resolve({ done: true, value: undefined });
        view.set(part);
        return Promise.resolve({ done: false, value: view.subarray(0, part.length) });
      },
      releaseLock: () => undefined,
    };
  }

  cancel(): Promise<void> {
    return Promise.resolve();
  }
}

/** Stands in for FixedLengthStream: what is written to it is measured and dropped. */
class SizedSink {
  readonly readable = this;
  readonly writable = this;
  readonly #expected: number;
  #taken = 0;

  constructor(expected: number) {
    this.#expected = expected;
  }

  get length(): number {
    return this.#expected;
  }

  getWriter(): this {
    return this;
  }

  write(bytes: Uint8Array): Promise<void> {
    this.#taken += bytes.length;
    return Promise.resolve();
  }

  close(): Promise<void> {
    if (this.#taken !== this.#expected) throw new Error(`${this.#taken} bytes were written, not ${this.#expected}`);
    return Promise.resolve();
  }

  abort(): Promise<void> {
    return Promise.resolve();
  }
}

/** @returns puts back what was there before. */
export function installFixedLengthStream(): () => void {
  const real: unknown = Reflect.get(globalThis, "FixedLengthStream");
  Object.assign(globalThis, { FixedLengthStream: SizedSink });
  return () => void Object.assign(globalThis, { FixedLengthStream: real });
}

/** @param travel called once for each operation. */
export function makeBucket(travel: () => Promise<void>): R2Bucket {
  const objects = new Map<string, StoredObject>();

  function store(key: string, value: string | Uint8Array | SizedSink): void {
    if (value instanceof SizedSink) {
      objects.set(key, { length: value.length, bytes: null });
      return;
    }
    const bytes = typeof value === "string" ? encoder.encode(value) : value.slice();
    objects.set(key, { length: bytes.length, bytes: key.startsWith(CHUNKS_PREFIX) ? null : bytes });
  }

  function startMultipart(key: string) {
    const parts: Uint8Array[] = [];
    let sinkBytes = 0;
    return {
      uploadPart: async (partNumber: number, value: Uint8Array | SizedSink) => {
        if (value instanceof SizedSink) sinkBytes += value.length;
        else parts.push(value.slice());
        await travel();
        return { partNumber, etag: String(partNumber) };
      },
      complete: async () => {
        await travel();
        if (sinkBytes > 0) return store(key, new SizedSink(sinkBytes));
        const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
        let offset = 0;
        for (const part of parts) {
          whole.set(part, offset);
          offset += part.length;
        }
        store(key, whole);
      },
    };
  }

  const bucket = {
    put: async (key: string, value: string | Uint8Array | SizedSink) => {
      await travel();
      store(key, value);
    },
    get: async (key: string, options?: { readonly range?: ByteRange }) => {
      await travel();
      const object = objects.get(key);
      return object === undefined ? null : new StoredBody(object, options?.range ?? null);
    },
    delete: async (keys: string | readonly string[]) => {
      await travel();
      for (const key of typeof keys === "string" ? [keys] : keys) objects.delete(key);
    },
    list: async ({ prefix, limit }: { readonly prefix: string; readonly limit: number }) => {
      await travel();
      const keys = [...objects.keys()].filter((key) => key.startsWith(prefix));
      return { objects: keys.slice(0, limit).map((key) => ({ key })), truncated: keys.length > limit };
    },
    createMultipartUpload: async (key: string) => {
      await travel();
      return startMultipart(key);
    },
  };
  return bucket as unknown as R2Bucket;
}
