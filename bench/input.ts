/** Input files of any size: varied chat requests whose lines all have the same length, give or take their number. */

export interface InputShape {
  readonly lines: number;
  /** Of each line with its line break; short ones have at least what a request needs. */
  readonly lineBytes: number;
}

/** Prose with what makes JSON work: escapes, and letters of more than one byte. */
const PROSE =
  'Summarise the report below in three sentences, then say what is missing. "Revenue rose by 4.2 %", it says,\\nbut not why; the café in Zürich closed. ';
const CHUNK_LINES = 1000;

/** A file in chunks of a thousand lines. */
export function* makeInput({ lines, lineBytes }: InputShape): Generator<Buffer> {
  const text = JSON.stringify(PROSE.repeat(Math.ceil(lineBytes / PROSE.length))).slice(1);
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
  const content = text.slice(0, Math.max(0, lineBytes - head.length - tail.length)).replace(/\\+[^\\]?$/, "");
  return head + content + tail;
}
