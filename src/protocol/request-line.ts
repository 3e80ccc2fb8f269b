/**
 * The rules for one line of an input file: what OpenAI's batch validation refuses, with its codes and
 * messages. What the body contains beyond this is the upstream's business. No I/O.
 */
import { countCharacters } from "../domain/characters.ts";
import { MAX_CUSTOM_ID_CHARACTERS, MAX_LINE_BYTES } from "../domain/limits.ts";
import { ok, refuse, type Result } from "../domain/result.ts";
import { type Endpoint, REQUIRED_MESSAGES } from "./endpoints.ts";
import { isObject, parseObject } from "./json.ts";
import { rawMembers } from "./raw-json.ts";
import { describeType, missingParameter, type Problem, shorten, tooLong, wrongType } from "./refusal.ts";

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

/** The two members of a line that its batch needs again once it runs. */
export interface Request {
  readonly customId: string;
  /** The body's own text: its bytes go upstream as they came. */
  readonly body: string;
}

/**
 * Keeps a client's long values from filling the list of errors: a thousand of them must fit a row of 2 MB
 * (developers.cloudflare.com/durable-objects/platform/limits), where JSON may spell a character with six bytes.
 */
const MAX_QUOTED_CHARACTERS = 100;

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
  if (customId === undefined) return refuse(missingParameter("custom_id"));
  if (typeof customId !== "string") return refuse(mistyped("custom_id", "a string", customId));
  const characters = countCharacters(customId);
  if (characters > MAX_CUSTOM_ID_CHARACTERS) return refuse(tooLong("custom_id", MAX_CUSTOM_ID_CHARACTERS, characters));
  const envelope = checkEnvelope(line, rules.path);
  if (envelope !== null) return refuse(envelope);
  const body = line["body"];
  if (body === undefined) return refuse(missingParameter("body"));
  if (!isObject(body)) return refuse(mistyped("body", "an object", body));
  return checkBody(customId, body, rules);
}

/** @param text a line that `parseRequestLine` has accepted: it is not checked again. */
export function readRequest(text: string): Request {
  const members = rawMembers(text, ["custom_id", "body"]);
  return { customId: JSON.parse(members.get("custom_id") ?? '""') as string, body: members.get("body") ?? "{}" };
}

export function duplicateCustomId(customId: string): Problem {
  return {
    code: "duplicate_custom_id",
    message: `The custom_id '${shorten(customId, MAX_QUOTED_CHARACTERS)}' for this request is a duplicate of another request. The custom_id parameter must be unique for each request in a batch.`,
    param: "custom_id",
  };
}

function checkEnvelope(line: Record<string, unknown>, path: string): Problem | null {
  const method = line["method"];
  if (method === undefined) return missingParameter("method");
  if (typeof method !== "string") return mistyped("method", "a string", method);
  if (method !== "POST") {
    return {
      code: "invalid_method",
      message: `Invalid method: '${shorten(method, MAX_QUOTED_CHARACTERS)}'. Only 'POST' is supported.`,
      param: "method",
    };
  }
  const url = line["url"];
  if (url === undefined) return missingParameter("url");
  if (typeof url !== "string") return mistyped("url", "a string", url);
  if (url === path) return null;
  return {
    code: "invalid_url",
    message: "The URL provided for this request does not match the batch endpoint.",
    param: "url",
  };
}

function checkBody(customId: string, body: Record<string, unknown>, rules: LineRules): Result<RequestLine, Problem> {
  // As in OpenAI's types, null is the same as nothing.
  if ((body["stream"] ?? false) !== false) {
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
  if (model !== null && typeof model !== "string") return refuse(mistyped("body.model", "a string", model));
  if (model !== null && rules.models !== null && !rules.models.includes(model)) {
    return refuse({
      code: "model_not_found",
      message: `The provided model '${shorten(model, MAX_QUOTED_CHARACTERS)}' is not supported by the Batch API.`,
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

function mistyped(param: string, expected: string, value: unknown): Problem {
  return wrongType(param, expected, describeType(value));
}
