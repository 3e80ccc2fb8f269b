/** The headers that describe a multipart form and its parts (RFC 7578, RFC 2183). No I/O. */
import { plainError } from "./api-error.ts";

export interface PartHead {
  readonly name: string;
  /** Null for a text field. It proves nothing, and may be any text. */
  readonly filename: string | null;
}

/** RFC 2046, 5.1.1: at most 70 characters. */
const BOUNDARY = /^multipart\/form-data *(?:;.*)?; *boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))(?: *;.*)?$/i;

/** @throws ApiError 400 when the header names no multipart form. */
export function readBoundary(contentType: string): string {
  const match = BOUNDARY.exec(contentType.trim());
  const boundary = match?.[1] ?? match?.[2];
  if (boundary !== undefined) return boundary;
  throw plainError(400, "Expected a multipart/form-data request with a boundary.");
}

/** @param bytes header lines. Null when they name no form field. */
export function readPartHead(bytes: Uint8Array): PartHead | null {
  const lines = new TextDecoder().decode(bytes).split("\r\n");
  const disposition = lines.find((line) => /^content-disposition:/i.test(line));
  if (disposition === undefined) return null;
  const parameters = readParameters(disposition.slice("content-disposition:".length));
  const name = parameters.get("name");
  if (name === undefined) return null;
  const filename = decodeExtended(parameters.get("filename*")) ?? parameters.get("filename") ?? null;
  return { name, filename };
}

/** `form-data; name="file"; filename="a.jsonl"`: lower-case names, values without their quotes. */
function readParameters(header: string): ReadonlyMap<string, string> {
  const parameters = new Map<string, string>();
  for (const [, name, value] of header.matchAll(/; *([^\s=;"]+) *= *("(?:[^"\\]|\\.)*"|[^;"]*)/g)) {
    if (name === undefined || value === undefined) continue;
    const text = value.startsWith('"') ? value.slice(1, -1).replaceAll(/\\(["\\])/g, "$1") : value.trim();
    if (!parameters.has(name.toLowerCase())) parameters.set(name.toLowerCase(), text);
  }
  return parameters;
}

/** RFC 8187: `UTF-8''na%C3%AFve.jsonl`. Null for anything else. */
function decodeExtended(value: string | undefined): string | null {
  const encoded = /^utf-8'[^']*'(.*)$/i.exec(value ?? "")?.[1];
  if (encoded === undefined) return null;
  try {
    return decodeURIComponent(encoded);
  } catch {
    return null;
  }
}
