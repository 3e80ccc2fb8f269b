/** The Worker as a client sees it: requests with the deployment's key, and multipart forms byte by byte. */
import { exports } from "cloudflare:workers";

export const ADMIN = { authorization: "Bearer sk-test" } as const;
/** A tenant of its own: pass-through with some provider's key. */
export const STRANGER = { authorization: "Bearer sk-stranger", "x-portkey-provider": "mock" } as const;

const ORIGIN = "https://nightshift.test";

export interface Answered {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  /** Null when the text is no JSON. */
  readonly json: Record<string, unknown> | null;
}

export interface ErrorFields {
  readonly message: string;
  readonly type: string;
  readonly param: string | null;
  readonly code: string | null;
}

export async function send(path: string, init: RequestInit = {}): Promise<Answered> {
  return readAnswer(await exports.default.fetch(makeRequest(path, init)));
}

/** With the deployment's key, unless `init` has headers of its own. */
export function makeRequest(path: string, init: RequestInit): Request {
  return new Request(ORIGIN + path, { headers: ADMIN, ...init });
}

export async function readAnswer(response: Response): Promise<Answered> {
  const text = new TextDecoder().decode(await response.arrayBuffer());
  return { status: response.status, headers: response.headers, text, json: parse(text) };
}

export function envelope(fields: Partial<ErrorFields> & { readonly message: string }): { readonly error: ErrorFields } {
  return { error: { type: "invalid_request_error", param: null, code: null, ...fields } };
}

export interface Part {
  readonly name: string;
  readonly filename?: string;
  readonly content: string | Uint8Array;
}

export const BOUNDARY = "----nightshift-0123";

/** In the order of the parts, as SDKs write them. */
export function writeForm(parts: readonly Part[], boundary = BOUNDARY): Uint8Array<ArrayBuffer> {
  const pieces: Uint8Array[] = [];
  for (const { name, filename, content } of parts) {
    const file = filename === undefined ? "" : `; filename="${filename}"`;
    pieces.push(encode(`--${boundary}\r\nContent-Disposition: form-data; name="${name}"${file}\r\n`));
    if (filename !== undefined) pieces.push(encode("Content-Type: application/octet-stream\r\n"));
    pieces.push(encode("\r\n"), typeof content === "string" ? encode(content) : content, encode("\r\n"));
  }
  pieces.push(encode(`--${boundary}--\r\n`));
  return join(pieces);
}

export function upload(body: BodyInit, headers: Readonly<Record<string, string>> = {}): Promise<Answered> {
  const contentType = `multipart/form-data; boundary=${BOUNDARY}`;
  return send("/v1/files", { method: "POST", body, headers: { ...ADMIN, "content-type": contentType, ...headers } });
}

/** @returns the id of the file. */
export async function uploadText(content: string, headers: Readonly<Record<string, string>> = {}): Promise<string> {
  const form = writeForm([
    { name: "purpose", content: "batch" },
    { name: "file", filename: "input.jsonl", content },
  ]);
  const { json, text } = await upload(form, headers);
  if (typeof json?.["id"] !== "string") throw new Error(`the upload was refused: ${text}`);
  return json["id"];
}

export function encode(text: string): Uint8Array<ArrayBuffer> {
  return new Uint8Array(new TextEncoder().encode(text));
}

export function join(pieces: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(pieces.map((piece) => piece.length).reduce((sum, length) => sum + length, 0));
  let at = 0;
  for (const piece of pieces) {
    bytes.set(piece, at);
    at += piece.length;
  }
  return bytes;
}

function parse(text: string): Record<string, unknown> | null {
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch {
    return null;
  }
}
