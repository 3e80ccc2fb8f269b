/**
 * Takes in a file: a multipart form is parsed while it arrives and its file goes to R2 part by part, so
 * that memory does not grow with it. Whatever goes wrong, neither bytes nor a row are left behind.
 */
import { waitUntil } from "cloudflare:workers";
import { firstCharacters } from "../domain/characters.ts";
import type { FileRecord } from "../domain/file.ts";
import { MAX_FILE_BYTES, MAX_FORM_BYTES } from "../domain/limits.ts";
import { logFailure } from "../log.ts";
import { newId } from "../new-id.ts";
import { type FileForm, fileForm } from "../protocol/file.ts";
import { missingParameter, parseRequest, shorten, unknownParameter, wrongType } from "../protocol/refusal.ts";
import { FILE_TOO_LARGE, NOT_JSONL } from "../protocol/request-problems.ts";
import { deleteFileRow, insertFile } from "../stores/files.ts";
import { insertFileWithin } from "../stores/guest-use.ts";
import { fileKey } from "../stores/object-keys.ts";
import { ObjectUpload } from "../stores/object-upload.ts";
import { ApiError, plainError, valueOf } from "./api-error.ts";
import { FirstLine } from "./first-line.ts";
import { overStorage, type StorageQuota } from "./guest-limits.ts";
import { MultipartScanner } from "./multipart.ts";
import type { PartHead } from "./part-head.ts";
import { readBody } from "./request-body.ts";

export interface UploadOrder {
  readonly request: Request;
  readonly tenant: string;
  /** Null: as much as a file may have. */
  readonly quota: StorageQuota | null;
  readonly db: D1Database;
  readonly bucket: R2Bucket;
}

/** Ours: a form has four fields that mean something, each a short word. */
const MAX_PARTS = 32;
const MAX_FIELD_BYTES = 8 * 1024;
const MAX_FILENAME_CHARACTERS = 512;

/** @throws ApiError 400, 413 for a form without end, 429 for a guest's file beyond its quota. */
export function receiveFile(order: UploadOrder): Promise<FileRecord> {
  const receiving = storeFile(order);
  // A client that hangs up ends its request, but what it left must still be cleaned up.
  waitUntil(receiving.catch(() => undefined));
  return receiving;
}

async function storeFile({ request, tenant, quota, db, bucket }: UploadOrder): Promise<FileRecord> {
  const now = new Date();
  const id = newId("file-", now);
  const object = new ObjectUpload(bucket, fileKey(id));
  const { form, filename, bytes } = await receiveBytes({ request, object, id, quota });
  const expiresAt =
    form.expiresAfterSeconds === null ? null : new Date(now.getTime() + form.expiresAfterSeconds * 1000);
  const file: FileRecord = { id, tenant, purpose: form.purpose, filename, bytes, createdAt: now, expiresAt };
  try {
    if (quota === null) await insertFile(db, file);
    else if (!(await insertFileWithin(db, file, quota.mostBytes))) throw overStorage(quota.mostBytes);
    return file;
  } catch (error) {
    // D1 may have taken the row without saying so. It goes first: the sweep finds bytes without a row, but
    // clients find a row without bytes.
    await deleteFileRow(db, id);
    await abandon(object, id);
    throw error;
  }
}

interface Receipt {
  readonly request: Request;
  readonly object: ObjectUpload;
  readonly id: string;
  readonly quota: StorageQuota | null;
}

async function receiveBytes({ request, object, id, quota }: Receipt): Promise<ReceivedForm> {
  try {
    const received = await new FormReader(object, quota).read(request);
    await object.finish();
    return received;
  } catch (error) {
    await abandon(object, id);
    throw error;
  }
}

/** What R2 does not let go of now is an orphan that the sweep finds: the client is told what was wrong before. */
async function abandon(object: ObjectUpload, id: string): Promise<void> {
  try {
    await object.abort();
  } catch (error) {
    logFailure("upload_not_cleaned", { file: id }, error);
  }
}

interface ReceivedForm {
  readonly form: FileForm;
  readonly filename: string;
  readonly bytes: number;
}

type OpenPart = { readonly kind: "file" } | { readonly kind: "field"; readonly name: string; readonly bytes: number[] };

class FormReader {
  readonly #object: ObjectUpload;
  readonly #quota: StorageQuota | null;
  readonly #fields = new Map<string, string>();
  readonly #firstLine = new FirstLine();
  #filename: string | null = null;
  #fileBytes = 0;
  #parts = 0;
  #part: OpenPart | null = null;

  constructor(object: ObjectUpload, quota: StorageQuota | null) {
    this.#object = object;
    this.#quota = quota;
  }

  async read(request: Request): Promise<ReceivedForm> {
    const scanner = new MultipartScanner(request.headers.get("content-type") ?? "");
    const body: ReadableStream<Uint8Array> | null = request.body;
    let bytes = 0;
    if (body !== null) {
      for await (const block of readBody(body)) {
        bytes += block.length;
        if (bytes > MAX_FORM_BYTES) throw plainError(413, `A form may have at most ${MAX_FORM_BYTES} bytes.`);
        for (const event of scanner.push(block)) {
          if (event.kind === "part") this.#beginPart(event.head);
          else if (event.kind === "bytes") await this.#takeBytes(event.bytes);
          else this.#endPart();
        }
      }
    }
    scanner.finish();
    return this.#checkForm();
  }

  #beginPart({ name, filename }: PartHead): void {
    this.#parts += 1;
    if (this.#parts > MAX_PARTS) throw plainError(400, `A form may have at most ${MAX_PARTS} parts.`);
    if (name === "file") {
      if (filename === null) throw new ApiError(400, wrongType(name, "a file", "a string"));
      if (this.#filename !== null) throw plainError(400, "Expected one 'file', but got more.");
      this.#filename = firstCharacters(filename, MAX_FILENAME_CHARACTERS);
      this.#part = { kind: "file" };
      return;
    }
    if (filename !== null) {
      const known = Object.hasOwn(fileForm.in.shape, name);
      throw new ApiError(400, known ? wrongType(name, "a string", "a file") : unknownParameter(name));
    }
    this.#part = { kind: "field", name, bytes: [] };
  }

  async #takeBytes(bytes: Uint8Array): Promise<void> {
    if (this.#part?.kind === "field") {
      const field = this.#part;
      const fits = field.bytes.length + bytes.length <= MAX_FIELD_BYTES;
      if (!fits) throw plainError(400, `The field '${shorten(field.name)}' is too long.`);
      field.bytes.push(...bytes);
      return;
    }
    this.#fileBytes += bytes.length;
    if (this.#fileBytes > MAX_FILE_BYTES) throw new ApiError(400, FILE_TOO_LARGE);
    if (this.#quota !== null && this.#fileBytes > this.#quota.leftBytes) throw overStorage(this.#quota.mostBytes);
    this.#firstLine.push(bytes);
    this.#checkFirstLine();
    await this.#object.write(bytes);
  }

  #endPart(): void {
    if (this.#part?.kind === "field") {
      const { name, bytes } = this.#part;
      this.#fields.set(name, new TextDecoder().decode(new Uint8Array(bytes)));
    } else {
      this.#firstLine.finish();
    }
    this.#checkFirstLine();
  }

  /** The purpose may stand before the file or behind it: whichever comes last is the moment to refuse. */
  #checkFirstLine(): void {
    if (this.#firstLine.isObject === false && this.#fields.get("purpose") === "batch") {
      throw new ApiError(400, NOT_JSONL);
    }
  }

  #checkForm(): ReceivedForm {
    if (this.#filename === null) throw new ApiError(400, missingParameter("file"));
    const form = valueOf(parseRequest(fileForm, Object.fromEntries(this.#fields)));
    return { form, filename: this.#filename, bytes: this.#fileBytes };
  }
}
