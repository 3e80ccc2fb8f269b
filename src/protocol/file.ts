/** OpenAI's file object, and what a client may ask about files. The bytes are `http/`'s business. */
import * as z from "zod";
import { type FileRecord, UPLOAD_PURPOSES, type UploadPurpose } from "../domain/file.ts";
import {
  DEFAULT_FILE_LIFE_SECONDS,
  FILES_PER_PAGE,
  MAX_EXPIRES_AFTER_SECONDS,
  MIN_EXPIRES_AFTER_SECONDS,
} from "../domain/limits.ts";
import { integerText, oneOf } from "./fields.ts";

export interface FileObject {
  readonly id: string;
  readonly object: "file";
  readonly bytes: number;
  readonly created_at: number;
  readonly expires_at: number | null;
  readonly filename: string;
  readonly purpose: string;
  readonly status: "processed";
  readonly status_details: null;
}

export interface DeletedFile {
  readonly id: string;
  readonly object: "file";
  readonly deleted: true;
}

export interface FileForm {
  readonly purpose: UploadPurpose;
  /** From the file's creation; null: kept until it is deleted. */
  readonly expiresAfterSeconds: number | null;
}

export function toFileObject(file: FileRecord): FileObject {
  return {
    id: file.id,
    object: "file",
    bytes: file.bytes,
    created_at: Math.floor(file.createdAt.getTime() / 1000),
    expires_at: file.expiresAt === null ? null : Math.floor(file.expiresAt.getTime() / 1000),
    filename: file.filename,
    purpose: file.purpose,
    status: "processed",
    status_details: null,
  };
}

export function toDeletedFile(id: string): DeletedFile {
  return { id, object: "file", deleted: true };
}

/** The query of `GET /v1/files`. */
export const fileListQuery = z.object({
  purpose: z.string().optional(),
  limit: integerText(FILES_PER_PAGE.least, FILES_PER_PAGE.most).prefault(String(FILES_PER_PAGE.usual)),
  order: oneOf(["asc", "desc"]).prefault("desc"),
  after: z.string().optional(),
});

/** The text fields of an upload's form, by the names that SDKs give them. */
export const fileForm = z
  .object({
    purpose: oneOf(UPLOAD_PURPOSES),
    "expires_after[anchor]": oneOf(["created_at"]).optional(),
    "expires_after[seconds]": integerText(MIN_EXPIRES_AFTER_SECONDS, MAX_EXPIRES_AFTER_SECONDS).optional(),
  })
  .check(({ value, issues }) => {
    const [anchor, seconds] = [value["expires_after[anchor]"], value["expires_after[seconds]"]];
    if ((anchor === undefined) === (seconds === undefined)) return;
    const missing = anchor === undefined ? "expires_after[anchor]" : "expires_after[seconds]";
    issues.push({ code: "invalid_type", expected: "string", path: [missing], input: undefined });
  })
  .transform((form): FileForm => {
    const usualSeconds = form.purpose === "batch" ? DEFAULT_FILE_LIFE_SECONDS : null;
    return { purpose: form.purpose, expiresAfterSeconds: form["expires_after[seconds]"] ?? usualSeconds };
  });
