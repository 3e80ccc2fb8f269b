/**
 * The source text of values inside JSON text, for what must keep its bytes: `JSON.parse` loses integers beyond
 * 2^53 and the spelling of numbers. It checks nothing: the text must already be known to be valid JSON.
 */

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const COLON = 0x3a;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const SPACE = 0x20;

/**
 * The source texts of some members of the object that `text` is, without the space around them. Those that it
 * does not have are missing, as all are when `text` is no object. As in `JSON.parse`, keys may be written with
 * escapes and the last of several equal keys counts. Linear in the text's length, whatever its depth.
 */
export function rawMembers(text: string, names: readonly string[]): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  let position = skipSpace(text, 0);
  if (text.charCodeAt(position) !== OPEN_BRACE) return found;
  position = skipSpace(text, position + 1);
  while (text.charCodeAt(position) === QUOTE) {
    const keyEnd = skipString(text, position);
    const start = skipSpace(text, skipSpace(text, keyEnd) + 1);
    const end = skipValue(text, start);
    const key = readKey(text, position, keyEnd);
    if (names.includes(key)) found.set(key, text.slice(start, end));
    // Over the comma; at the closing brace this ends the loop.
    position = skipSpace(text, skipSpace(text, end) + 1);
  }
  return found;
}

/**
 * The same JSON on one line. Raw line breaks can only stand between tokens, so nothing but spacing changes.
 * U+2028 and U+2029 stay: they are no line breaks in JSONL.
 */
export function toOneLine(jsonText: string): string {
  return jsonText.includes("\n") || jsonText.includes("\r") ? jsonText.replaceAll(/[\r\n]+/g, "") : jsonText;
}

function readKey(text: string, start: number, end: number): string {
  const raw = text.slice(start + 1, end - 1);
  return raw.includes("\\") ? (JSON.parse(`"${raw}"`) as string) : raw;
}

/** Each of these returns the position behind what it skips. */
function skipSpace(text: string, start: number): number {
  let position = start;
  while (text.charCodeAt(position) <= SPACE) position += 1;
  return position;
}

function skipValue(text: string, start: number): number {
  const first = text.charCodeAt(start);
  if (first === QUOTE) return skipString(text, start);
  if (first === OPEN_BRACE || first === OPEN_BRACKET) return skipContainer(text, start);
  let position = start;
  while (position < text.length && !endsScalar(text.charCodeAt(position))) position += 1;
  return position;
}

function endsScalar(code: number): boolean {
  return code <= SPACE || code === COMMA || code === CLOSE_BRACE || code === CLOSE_BRACKET || code === COLON;
}

function skipContainer(text: string, start: number): number {
  let depth = 0;
  let position = start;
  while (position < text.length) {
    const code = text.charCodeAt(position);
    if (code === QUOTE) {
      position = skipString(text, position);
      continue;
    }
    position += 1;
    if (code === OPEN_BRACE || code === OPEN_BRACKET) depth += 1;
    else if (code === CLOSE_BRACE || code === CLOSE_BRACKET) {
      depth -= 1;
      if (depth === 0) return position;
    }
  }
  return position;
}

/** From quote to quote by `indexOf`, since most of a request is prose in strings. */
function skipString(text: string, start: number): number {
  let quote = text.indexOf('"', start + 1);
  while (quote !== -1 && isEscaped(text, quote)) quote = text.indexOf('"', quote + 1);
  return quote === -1 ? text.length : quote + 1;
}

function isEscaped(text: string, position: number): boolean {
  let before = position - 1;
  while (text.charCodeAt(before) === BACKSLASH) before -= 1;
  return (position - before) % 2 === 0;
}
