/** The headers that describe a multipart form and its parts (RFC 7578, RFC 2183). No I/O. */
import { plainError } from "./api-error.ts";

export interface PartHead {
  readonly name: string;
  /** Null for a text field. It proves nothing, and may be any text. */
  readonly filename: string | null;
}

/** RFC 2046, 5.1.1: at most 70 characters. */
const BOUNDARY =
  /^multipart\/form-data[ \t]*(?:;.*)?;[ \t]*boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))(?:[ \t]*;.*)?$/i;

/** @throws ApiError 400 when the header names no multipart form. */
export function readBoundary(contentType: string): string {
  const match = BOUNDARY.exec(contentType.trim());
  const boundary = match?.[1] ?? match?.[2];
  if (boundary !== undefined) return boundary;
  throw plainError(400, "Expected a multipart/form-data request with a boundary.");
}

/**
 * @param bytes header lines. Null when they name no form field.
 * @throws ApiError 400 when they name a file, but in a way that cannot be read.
 */
export function readPartHead(bytes: Uint8Array): PartHead | null {
  const lines = new TextDecoder().decode(bytes).split("\r\n");
  const disposition = lines.find((line) => /^content-disposition:/i.test(line));
  if (disposition === undefined) return null;
  const parameters = readParameters(disposition.slice("content-disposition:".length));
  const name = parameters.get("name");
  return name === undefined ? null : { name, filename: readFilename(parameters) };
}

/** RFC 7578, 4.2 forbids `filename*`, but some send it: it counts where it can be read, else the plain name does. */
function readFilename(parameters: ReadonlyMap<string, string>): string | null {
  const extended = parameters.get("filename*");
  const filename = decodeExtended(extended) ?? parameters.get("filename");
  if (filename !== undefined) return filename;
  if (extended === undefined) return null;
  throw plainError(
    400,
    "We could not read the name of a file in your form: its 'filename*' is not encoded as UTF-8''…",
  );
}

/** `form-data; name="file"; filename="a.jsonl"`: lower-case names, values without their quotes. */
function readParameters(header: string): ReadonlyMap<string, string> {
  const parameters = new Map<string, string>();
  for (const [, name, value] of header.matchAll(/;[ \t]*([^\s=;"]+)[ \t]*=[ \t]*("(?:[^"\\]|\\.)*"|[^;"]*)/g)) {
    if (name === undefined || value === undefined) continue;
    const text = value.startsWith('"') ? unescapeQuoted(value.slice(1, -1)) : value.trim();
    if (!parameters.has(name.toLowerCase())) parameters.set(name.toLowerCase(), text);
  }
  return parameters;
}

const ESCAPES: Readonly<Record<string, string>> = { "%22": '"', "%0D": "\r", "%0A": "\n" };

/**
 * Backslashes as in RFC 2616, and the three escapes that browsers and curl write (HTML, "multipart/form-data
 * encoding algorithm"): they leave every other percent sign as it is, and so do we.
 */
function unescapeQuoted(text: string): string {
  return text.replaceAll(
    /\\(["\\])|%(?:22|0D|0A)/g,
    (escape, sign: string | undefined) => sign ?? ESCAPES[escape] ?? escape,
  );
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
