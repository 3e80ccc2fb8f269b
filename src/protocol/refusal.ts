/**
 * Why a request is refused, in OpenAI's codes and words (wire contract §2): written once here, for zod's
 * issues and for the few checks that zod does not make. It knows neither routes nor HTTP statuses.
 */
import type * as z from "zod";
import { firstCharacters } from "../domain/characters.ts";
import { ok, refuse, type Result } from "../domain/result.ts";

export interface Refusal {
  readonly code: string | null;
  readonly message: string;
  /** The path of the parameter at fault, as the client wrote it. */
  readonly param: string | null;
}

/** One with a code: nearly all over HTTP, and all that a batch lists as its `errors`. */
export interface Problem extends Refusal {
  readonly code: string;
}

/** What a schema's own check may put into `params` of a custom issue; the issue's path becomes the param. */
export type CustomRefusal = Omit<Refusal, "param">;

/** Ours: the most of a client's own text that an answer repeats. */
const MAX_QUOTED_CHARACTERS = 100;

/** Checks what a client sent. The first problem, in the order of the schema's keys, is the one returned. */
export function parseRequest<Schema extends z.ZodType>(
  schema: Schema,
  value: unknown,
): Result<z.output<Schema>, Refusal> {
  const parsed = schema.safeParse(value, { reportInput: true });
  if (parsed.success) return ok(parsed.data);
  const [first] = parsed.error.issues;
  if (first === undefined) throw new Error("zod refused a value without an issue");
  return refuse(toRefusal(first));
}

export function missingParameter(param: string): Problem {
  return { code: "missing_required_parameter", message: `Missing required parameter: '${param}'.`, param };
}

export function unknownParameter(param: string): Problem {
  return { code: "unknown_parameter", message: `Unknown parameter: '${shorten(param)}'.`, param: shorten(param) };
}

function unsupportedValue(param: string, value: string, supported: readonly string[]): Problem {
  return {
    code: "invalid_value",
    message: `Invalid value: '${shorten(value)}'. Supported values are: ${listQuoted(supported)}.`,
    param,
  };
}

/** For a parameter that OpenAI does not have: its name stands in the message too, which is all that some SDKs show. */
export function unsupportedOwnValue(param: string, value: string, supported: readonly string[]): Refusal {
  return {
    code: "invalid_value",
    message: `Invalid value for '${param}': '${shorten(value)}'. Supported values are: ${listQuoted(supported)}.`,
    param,
  };
}

/** @param expected,got with their articles: `a string`, `an array`. */
export function wrongType(param: string, expected: string, got: string): Problem {
  return {
    code: "invalid_type",
    message: `Invalid type for '${param}': expected ${expected}, but got ${got} instead.`,
    param,
  };
}

/** @param most,got in characters. */
export function tooLong(param: string, most: number, got: number): Problem {
  return {
    code: "string_above_max_length",
    message: `Invalid '${param}': string too long. Expected a string with maximum length ${most}, but got a string with length ${got} instead.`,
    param,
  };
}

/** The words OpenAI's messages use for the type of a JSON value. */
export function describeType(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "an array";
  if (typeof value === "number") return Number.isInteger(value) ? "an integer" : "a decimal";
  return typeof value === "object" ? "an object" : `a ${typeof value}`;
}

/** @param most How many characters of a client's own value are repeated. */
export function shorten(value: string, most = MAX_QUOTED_CHARACTERS): string {
  return value.length <= most ? value : `${firstCharacters(value, most)}…`;
}

/** `'a', 'b', and 'c'`, sorted. */
function listQuoted(values: readonly string[]): string {
  const quoted = values.toSorted().map((value) => `'${value}'`);
  if (quoted.length <= 2) return quoted.join(" and ");
  return `${quoted.slice(0, -1).join(", ")}, and ${quoted.at(-1)}`;
}

function toRefusal(issue: z.core.$ZodIssue): Refusal {
  const path = issue.path.map((key) => shorten(String(key))).join(".");
  const param = path === "" ? null : path;
  switch (issue.code) {
    case "custom":
      return { ...(issue.params as CustomRefusal), param };
    case "invalid_type":
      return issue.input === undefined ? missingParameter(path) : toWrongType(issue, param);
    case "invalid_value":
      return unsupportedValue(path, String(issue.input), issue.values.map(String));
    case "too_small":
      return {
        code: "integer_below_min_value",
        message: `Invalid '${path}': integer below minimum value. Expected a value >= ${issue.minimum}, but got ${String(issue.input)} instead.`,
        param,
      };
    case "too_big":
      return issue.origin === "string"
        ? tooLong(path, Number(issue.maximum), String(issue.input).length)
        : toTooLarge(issue, param);
    case "invalid_format":
    case "not_multiple_of":
    case "unrecognized_keys":
    case "invalid_union":
    case "invalid_key":
    case "invalid_element":
      break;
  }
  throw new Error(`no wire error is known for zod's ${issue.code}`);
}

const TYPE_NAMES: Readonly<Record<string, string>> = {
  string: "a string",
  number: "an integer",
  int: "an integer",
  object: "an object",
  record: "an object",
  map: "an object",
};

function toWrongType(issue: z.core.$ZodIssueInvalidType, param: string | null): Refusal {
  const expected = TYPE_NAMES[issue.expected] ?? `a ${issue.expected}`;
  const got = describeType(issue.input);
  if (param !== null) return wrongType(param, expected, got);
  return { code: "invalid_type", message: `Invalid type: expected ${expected}, but got ${got} instead.`, param };
}

function toTooLarge(issue: z.core.$ZodIssueTooBig, param: string | null): Refusal {
  return {
    code: "integer_above_max_value",
    message: `Invalid '${param}': integer above maximum value. Expected a value <= ${issue.maximum}, but got ${String(issue.input)} instead.`,
    param,
  };
}
