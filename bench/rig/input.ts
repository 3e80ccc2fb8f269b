/** Input files of any size: varied chat requests. All lines have the same length, or a few bytes less. */

export interface InputShape {
  readonly lines: number;
  /** Of each line with its line break; short ones have at least what a request needs. */
  readonly lineBytes: number;
}

/** What stands between the quotes of a JSON string: prose with escapes, one byte a character. */
const PROSE = String.raw`Summarise the report below in three sentences, then say what is missing. \"Revenue rose by 4.2 %\", it says,\nbut not why; the caf\u00e9 in Z\u00fcrich closed. `;
const CHUNK_LINES = 1000;

/** A file in chunks of a thousand lines. */
export function* makeInput({ lines, lineBytes }: InputShape): Generator<Buffer> {
  const text = PROSE.repeat(Math.ceil(lineBytes / PROSE.length));
  for (let from = 0; from < lines; from += CHUNK_LINES) {
    const count = Math.min(CHUNK_LINES, lines - from);
    yield Buffer.from(Array.from({ length: count }, (_, index) => makeLine(from + index, text, lineBytes)).join(""));
  }
}

export function customIdOf(line: number): string {
  return `request-${line}`;
}

function makeLine(line: number, text: string, lineBytes: number): string {
  const head = `{"custom_id":"${customIdOf(line)}","method":"POST","url":"/v1/chat/completions","body":{"model":"mock","temperature":0.2,"seed":${line},"messages":[{"role":"user","content":"${line}. `;
  const tail = '"}]}}\n';
  // An escape that is cut in two would be no JSON.
  const content = text.slice(0, Math.max(0, lineBytes - head.length - tail.length)).replace(/\\(u[0-9a-f]{0,3})?$/, "");
  return head + content + tail;
}
