/**
 * Answers with the bytes of a file, or with the part of them that was asked for. A file never changes, so
 * its id is its entity tag, and conditions are decided without a look at R2.
 */
import { DOWNLOADABLE_PURPOSES, type FileRecord } from "../domain/file.ts";
import { CONDITION_FAILED, noSuchFile, notDownloadable, plainRefusal } from "../protocol/request-problems.ts";
import { openFile } from "../stores/files.ts";
import { ApiError } from "./api-error.ts";
import { allowsRange, checkConditions } from "./conditions.ts";
import { readRange } from "./range.ts";

/** @throws ApiError 400 for files that may not be downloaded, 404 when the bytes are gone, 412 when a condition fails, 416 for a range outside. */
export async function answerContent(request: Request, file: FileRecord, bucket: R2Bucket): Promise<Response> {
  if (!DOWNLOADABLE_PURPOSES.includes(file.purpose)) {
    throw new ApiError(400, notDownloadable(file.purpose));
  }
  const version = { etag: `"${file.id}"`, lastModified: file.createdAt.toUTCString() };
  const headers = new Headers({
    etag: version.etag,
    "last-modified": version.lastModified,
    "accept-ranges": "bytes",
  });
  const verdict = checkConditions(request.headers, version);
  if (verdict === "failed") {
    throw new ApiError(412, CONDITION_FAILED);
  }
  if (verdict === "not_modified") return new Response(null, { status: 304, headers });
  const range = allowsRange(request.headers, version)
    ? readRange(request.headers.get("range") ?? undefined, file.bytes)
    : null;
  if (range === "unsatisfiable") {
    const refusal = plainRefusal(`The file has ${file.bytes} bytes, and none in that range.`);
    throw new ApiError(416, refusal, { "content-range": `bytes */${file.bytes}` });
  }
  const { offset, length } = range ?? { offset: 0, length: file.bytes };
  headers.set("content-type", "application/octet-stream");
  headers.set("content-disposition", writeDisposition(file.filename));
  headers.set("content-length", String(length));
  if (range !== null) headers.set("content-range", `bytes ${offset}-${offset + length - 1}/${file.bytes}`);
  const status = range === null ? 200 : 206;
  // Nothing can be asked of an object without bytes but the whole of it, and nothing of a HEAD's.
  if (length === 0 || request.method === "HEAD") return new Response(null, { status, headers });
  const body = await openFile(bucket, file.id, range);
  if (body === null) throw new ApiError(404, noSuchFile(file.id));
  return new Response(body, { status, headers });
}

/**
 * RFC 6266: a plain name for everybody and, where that is not the whole truth, an encoded one (RFC 8187).
 * Neither can end the header or name a folder.
 */
export function writeDisposition(filename: string): string {
  const name =
    filename
      .toWellFormed()
      .replaceAll(/[\p{Cc}\p{Cf}]/gu, "")
      .split(/[/\\]/)
      .at(-1) ?? "";
  const safe = name === "" || name === "." || name === ".." ? "file" : name;
  const plain = safe.replaceAll(/[^\x20-\x7e]|["%\\]/g, "_");
  if (plain === safe) return `attachment; filename="${plain}"`;
  const encoded = encodeURIComponent(safe).replaceAll(
    /['()*!]/g,
    (sign) => `%${sign.charCodeAt(0).toString(16).toUpperCase()}`,
  );
  return `attachment; filename="${plain}"; filename*=UTF-8''${encoded}`;
}
