import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { LineSplitter } from "../../src/domain/jsonl.ts";

interface SplitLine {
  /** Null when it was too long. */
  readonly text: string | null;
  readonly start: number;
  readonly end: number;
}

const latin1 = (bytes: Uint8Array) => Buffer.from(bytes).toString("latin1");

/** Splits in one buffer that is used again and again, as a reader does. */
function split(chunks: readonly Uint8Array[], maxLineBytes = 1000): SplitLine[] {
  const lines: SplitLine[] = [];
  const splitter = new LineSplitter(maxLineBytes, ({ bytes, start, end }) => {
    lines.push({ text: bytes === null ? null : latin1(bytes), start, end });
  });
  const buffer = new Uint8Array(Math.max(0, ...chunks.map(({ length }) => length)));
  for (const chunk of chunks) {
    buffer.set(chunk);
    splitter.push(buffer.subarray(0, chunk.length));
    buffer.fill(0x0a);
  }
  splitter.end();
  return lines;
}

function bytesOf(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text, "latin1"));
}

/** Many line breaks, and bytes that are no UTF-8. */
const chunk = fc.uint8Array({ maxLength: 20 }).map((bytes) => bytes.map((byte) => (byte % 4 === 0 ? 0x0a : byte)));

describe("LineSplitter", () => {
  test.each([
    ["", []],
    ["a", ["a"]],
    ["a\n", ["a"]],
    ["a\nb", ["a", "b"]],
    ["\n", [""]],
    ["\n\n", ["", ""]],
    ["a\r\nb\r\n", ["a\r", "b\r"]],
    ["a\n\nb", ["a", "", "b"]],
  ])("%j makes the lines %j", (text, lines) => {
    expect(split([bytesOf(text)]).map((line) => line.text)).toEqual(lines);
  });

  test("cuts any bytes, in any chunks, where split does", () => {
    fc.assert(
      fc.property(fc.array(chunk, { maxLength: 10 }), (chunks) => {
        const whole = chunks.map(latin1).join("");
        const lines = whole.split("\n");
        if (lines.at(-1) === "") lines.pop();
        expect(split(chunks).map(({ text }) => text)).toEqual(lines);
      }),
    );
  });

  test("says where each line stands", () => {
    fc.assert(
      fc.property(fc.array(chunk, { maxLength: 10 }), (chunks) => {
        const whole = chunks.map(latin1).join("");
        let end = 0;
        for (const line of split(chunks)) {
          expect(line.start).toBe(end);
          expect(whole.slice(line.start, line.end).replace(/\n$/, "")).toBe(line.text);
          end = line.end;
        }
        expect(end).toBe(whole.length);
      }),
    );
  });

  test.each([1, 3, 100])("drops a line over the limit and goes on behind it, in chunks of %i", (size) => {
    const bytes = bytesOf("12345\n123456\n1234567890123\n12345");
    const chunks = Array.from({ length: Math.ceil(bytes.length / size) }, (_, index) =>
      bytes.slice(index * size, (index + 1) * size),
    );
    expect(split(chunks, 5)).toEqual([
      { text: "12345", start: 0, end: 6 },
      { text: null, start: 6, end: 13 },
      { text: null, start: 13, end: 27 },
      { text: "12345", start: 27, end: 32 },
    ]);
  });
});
