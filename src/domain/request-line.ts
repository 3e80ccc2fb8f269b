/**
 * The rules for one line of an input file: what OpenAI's batch validation refuses, with its codes and
 * messages. What the body contains beyond this is the upstream's business. No I/O.
 */
import type { LineProblem } from "./batch.ts";
import { countCharacters, firstCharacters } from "./characters.ts";
import { type Endpoint, REQUIRED_MESSAGES } from "./endpoints.ts";
import { MAX_CUSTOM_ID_CHARACTERS, MAX_LINE_BYTES } from "./limits.ts";
import { ok, refuse, type Result } from "./result.ts";

export interface RequestLine {
  readonly customId: string;
  /** Null when the line names none, where its endpoint allows that. */
  readonly model: string | null;
  /** How many inputs it embeds; 0 on other endpoints. */
  readonly embeddingInputs: number;
}

export interface LineRules {
  readonly path: string;
  readonly endpoint: Endpoint;
  /** Models the upstream offers; null: any. */
  readonly models: readonly string[] | null;
}

export type Problem = Omit<LineProblem, "line">;

export const UNPARSEABLE_LINE: Problem = {
  code: "invalid_json_line",
  message: "This line is not parseable as valid JSON.",
  param: null,
};

export const LINE_TOO_LONG: Problem = {
  code: "line_too_long",
  message: `This line is longer than ${MAX_LINE_BYTES} bytes.`,
  param: null,
};

/** @param text one line, without its line break. The first problem found is the one returned. */
export function parseRequestLine(text: string, rules: LineRules): Result<RequestLine, Problem> {
  const line = parseObject(text);
  if (line === null) return refuse(UNPARSEABLE_LINE);
  const customId = line["custom_id"];
  if (customId === undefined) return refuse(missing("custom_id"));
  if (typeof customId !== "string") return refuse(wrongType("custom_id", "a string", customId));
  const characters = countCharacters(customId);
  if (characters > MAX_CUSTOM_ID_CHARACTERS) return refuse(tooLong(characters));
  const envelope = checkEnvelope(line, rules.path);
  if (envelope !== null) return refuse(envelope);
  const body = line["body"];
  if (body === undefined) return refuse(missing("body"));
  if (!isObject(body)) return refuse(wrongType("body", "an object", body));
  return checkBody(customId, body, rules);
}

export function duplicateCustomId(customId: string): Problem {
  return {
    code: "duplicate_custom_id",
    message: `The custom_id '${shorten(customId)}' for this request is a duplicate of another request. The custom_id parameter must be unique for each request in a batch.`,
    param: "custom_id",
  };
}

function checkEnvelope(line: Record<string, unknown>, path: string): Problem | null {
  const method = line["method"];
  if (method === undefined) return missing("method");
  if (typeof method !== "string") return wrongType("method", "a string", method);
  if (method !== "POST") {
    return {
      code: "invalid_method",
      message: `Invalid method: '${shorten(method)}'. Only 'POST' is supported.`,
      param: "method",
    };
  }
  const url = line["url"];
  if (url === undefined) return missing("url");
  if (typeof url !== "string") return wrongType("url", "a string", url);
  if (url === path) return null;
  return {
    code: "invalid_url",
    message: "The URL provided for this request does not match the batch endpoint.",
    param: "url",
  };
}

function checkBody(customId: string, body: Record<string, unknown>, rules: LineRules): Result<RequestLine, Problem> {
  if (body["stream"] === true) {
    return refuse({
      code: "streaming_unsupported",
      message: `${rules.endpoint.label}: Streaming is not supported in the Batch API.`,
      param: "body.stream",
    });
  }
  for (const name of rules.endpoint.required) {
    if (body[name] === undefined || body[name] === null || body[name] === "") {
      return refuse({ code: "invalid_request", message: REQUIRED_MESSAGES[name], param: `body.${name}` });
    }
  }
  const model = body["model"] ?? null;
  if (model !== null && typeof model !== "string") return refuse(wrongType("body.model", "a string", model));
  if (model !== null && rules.models !== null && !rules.models.includes(model)) {
    return refuse({
      code: "model_not_found",
      message: `The provided model '${shorten(model)}' is not supported by the Batch API.`,
      param: "body.model",
    });
  }
  const embeddingInputs = rules.path === "/v1/embeddings" ? countEmbeddingInputs(body["input"]) : 0;
  return ok({ customId, model, embeddingInputs });
}

/** A string or one list of tokens is one input; a list of strings or of token lists is as many as it has. */
function countEmbeddingInputs(input: unknown): number {
  if (!Array.isArray(input)) return 1;
  return typeof input[0] === "number" ? 1 : input.length;
}

function parseObject(text: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : null;
  } catch {
    return null;
  }
}

function missing(param: string): Problem {
  return { code: "missing_required_parameter", message: `Missing required parameter: '${param}'.`, param };
}

function wrongType(param: string, expected: string, value: unknown): Problem {
  return {
    code: "invalid_type",
    message: `Invalid type for '${param}': expected ${expected}, but got ${describeType(value)} instead.`,
    param,
  };
}

function tooLong(length: number): Problem {
  return {
    code: "string_above_max_length",
    message: `Invalid 'custom_id': string too long. Expected a string with maximum length ${MAX_CUSTOM_ID_CHARACTERS}, but got a string with length ${length} instead.`,
    param: "custom_id",
  };
}

/** The words OpenAI's messages use for the type of a JSON value. */
export function describeType(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "an array";
  if (typeof value === "number") return Number.isInteger(value) ? "an integer" : "a decimal";
  return typeof value === "object" ? "an object" : `a ${typeof value}`;
}

/**
 * Keeps a client's long values from filling the list of errors: a thousand of them must fit a row of 2 MB
 * (developers.cloudflare.com/durable-objects/platform/limits), where JSON may spell a character with six bytes.
 */
function shorten(value: string): string {
  return value.length <= 100 ? value : `${firstCharacters(value, 100)}…`;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
