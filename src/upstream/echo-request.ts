/** Reads what the echo upstream needs out of a request's body, whose shape nobody has checked. */

export interface EchoRequest {
  readonly endpoint: string;
  readonly body: Readonly<Record<string, unknown>>;
  /** Hex digits that follow from the body: what looks random in a reply comes from here. */
  readonly digest: string;
}

/** A reply repeats no more of a prompt. */
const MAX_ECHOED_CHARACTERS = 4000;
/** Messages hold parts, and parts hold text: deeper nesting is no prompt. */
const MAX_PROMPT_DEPTH = 5;
/** Roughly OpenAI's rule of thumb for English. */
const CHARACTERS_PER_TOKEN = 4;

export function modelOf({ body }: EchoRequest, fallback: string): string {
  return typeof body["model"] === "string" ? body["model"] : fallback;
}

/** The whole number at `name`, held between 1 and `most`; 1 when there is none. */
export function countOf({ body }: EchoRequest, name: string, most: number): number {
  const value = body[name];
  return typeof value === "number" && Number.isInteger(value) ? Math.min(Math.max(value, 1), most) : 1;
}

export function stringOf<Fallback>({ body }: EchoRequest, name: string, fallback: Fallback): string | Fallback {
  return typeof body[name] === "string" ? body[name] : fallback;
}

/** All text in a prompt, a message, a list of messages or a message's parts. Tokens given as numbers hold none. */
export function textOf(value: unknown, depth = 0): string {
  if (typeof value === "string") return value;
  if (typeof value !== "object" || value === null || depth >= MAX_PROMPT_DEPTH) return "";
  if (Array.isArray(value)) return value.map((part: unknown) => textOf(part, depth + 1)).join("");
  const { content, text } = value as { content?: unknown; text?: unknown };
  return textOf(content ?? text, depth + 1);
}

/** The text of the last message, as far as it is repeated. */
export function lastTextOf(value: unknown): string {
  return echoed(textOf(Array.isArray(value) ? value.at(-1) : value));
}

export function echoed(text: string): string {
  return text.slice(0, MAX_ECHOED_CHARACTERS).toWellFormed();
}

export function countTokens(text: string): number {
  return Math.ceil(text.length / CHARACTERS_PER_TOKEN);
}

/** The inputs of an embedding or moderation: one text or token list, or several. */
export function inputsOf(value: unknown): readonly unknown[] {
  const isSeveral = Array.isArray(value) && value.some((part) => typeof part === "string" || Array.isArray(part));
  return isSeveral ? (value as unknown[]) : [value];
}
