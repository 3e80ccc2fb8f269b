import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { orderResults, type PlacedChunk, planReads, type Segment } from "../../src/domain/result-files.ts";

const output = (line: number, bytes = 10) => ({ line, bytes, file: "output" as const });
const error = (line: number, bytes = 10) => ({ line, bytes, file: "error" as const });
const voided = (line: number, bytes = 10) => ({ line, bytes, file: null });

describe("orderResults", () => {
  test("joins neighbours of one chunk into one segment", () => {
    const files = orderResults([{ key: "a", lines: [output(0, 3), output(1, 4), output(2, 5)] }], 3);
    expect(files.output).toMatchObject({ segments: [{ key: "a", offset: 0, length: 12 }], bytes: 12 });
    expect(files.error).toMatchObject({ segments: [], bytes: 0 });
  });

  test("puts lines of several chunks in input order, each in its file", () => {
    const chunks: PlacedChunk[] = [
      { key: "a", lines: [output(3, 1), output(0, 2), error(2, 4)] },
      { key: "b", lines: [output(1, 8)] },
    ];
    const files = orderResults(chunks, 4);
    expect(files.output.segments).toEqual([
      { key: "a", offset: 1, length: 2 },
      { key: "b", offset: 0, length: 8 },
      { key: "a", offset: 0, length: 1 },
    ]);
    expect(files.error.segments).toEqual([{ key: "a", offset: 3, length: 4 }]);
  });

  test("steps over what is nobody's result", () => {
    const chunks: PlacedChunk[] = [
      { key: "a", lines: [voided(0, 7), output(1, 1)] },
      { key: "b", lines: [output(0, 2), voided(1, 9)] },
    ];
    expect(orderResults(chunks, 2).output.segments).toEqual([
      { key: "b", offset: 0, length: 2 },
      { key: "a", offset: 7, length: 1 },
    ]);
  });

  test.each([
    ["a line without a result", [output(0), output(2)], 3, "line 1 has no result"],
    ["a line whose results are nobody's", [output(0), voided(1)], 2, "line 1 has no result"],
    ["no line at all", [], 1, "line 0 has no result"],
    ["a line with two results", [output(0), error(0)], 1, "line 0 has two results"],
    ["a line beyond the last", [output(0), output(1)], 1, "line 1 has two results, or is none of the batch"],
  ])("refuses %s", (_what, lines, total, message) => {
    expect(() => orderResults([{ key: "a", lines }], total)).toThrow(message);
  });

  test("an empty batch has empty files", () => {
    expect(orderResults([], 0)).toMatchObject({ output: { bytes: 0 }, error: { bytes: 0 } });
  });

  test("the segments, copied one after the other, are the lines in order", () => {
    const lines = fc.array(fc.record({ chunk: fc.nat(4), file: fc.constantFrom("output", "error") }), {
      maxLength: 40,
    });
    fc.assert(
      fc.property(lines, fc.integer(), (results, seed) => {
        const texts = results.map((_, line) => `${line}:${"x".repeat((line * 7 + seed) & 15)}\n`);
        const shuffled = [...results.keys()].toSorted((a, b) => ((a * 31 + seed) % 17) - ((b * 31 + seed) % 17));
        const chunks = [0, 1, 2, 3, 4].map((number) => {
          const numbers = shuffled.filter((line) => results[line]?.chunk === number);
          return {
            key: `chunk ${number}`,
            text: numbers.map((line) => texts[line]).join(""),
            lines: numbers.map((line) => ({
              line,
              bytes: texts[line]?.length ?? 0,
              file: results[line]?.file === "output" ? ("output" as const) : ("error" as const),
            })),
          };
        });
        const files = orderResults(chunks, results.length);
        for (const file of ["output", "error"] as const) {
          const copied = files[file].segments.map(({ key, offset, length }) =>
            chunks.find((chunk) => chunk.key === key)?.text.slice(offset, offset + length),
          );
          expect(copied.join("")).toBe(texts.filter((_, line) => results[line]?.file === file).join(""));
          expect(files[file].bytes).toBe(copied.join("").length);
        }
      }),
    );
  });
});

const segment = (key: string, offset: number, length: number): Segment => ({ key, offset, length });

describe("planReads", () => {
  test("reads each chunk once, however often its lines alternate with others", () => {
    const segments = [segment("a", 5, 1), segment("b", 0, 2), segment("a", 6, 3), segment("b", 2, 4)];
    expect([...planReads(segments, 100)]).toMatchObject([
      {
        bytes: 10,
        reads: [
          {
            key: "a",
            offset: 5,
            length: 4,
            parts: [
              { at: 0, length: 1 },
              { at: 3, length: 3 },
            ],
          },
          {
            key: "b",
            offset: 0,
            length: 6,
            parts: [
              { at: 1, length: 2 },
              { at: 6, length: 4 },
            ],
          },
        ],
      },
    ]);
  });

  test("reads twice where what is needed of a chunk is apart", () => {
    const [block] = [...planReads([segment("a", 0, 1), segment("a", 9, 1)], 100)];
    expect(block?.reads).toMatchObject([
      { key: "a", offset: 0, length: 1 },
      { key: "a", offset: 9, length: 1 },
    ]);
  });

  test.each([
    ["just fills a block", 8, [8]],
    ["is a byte longer", 9, [8, 1]],
    ["fills two and a half", 20, [8, 8, 4]],
  ])("a segment that %s", (_what, length, expected) => {
    expect([...planReads([segment("a", 3, length)], 8)].map(({ bytes }) => bytes)).toEqual(expected);
  });

  test("a file without lines has no block", () => {
    expect([...planReads([], 8)]).toEqual([]);
  });

  test("the blocks, one after the other, are the segments, one after the other", () => {
    const texts: Readonly<Record<string, string>> = { a: "abcdefghij".repeat(5), b: "0123456789".repeat(5) };
    const segments = fc.array(
      fc.record({ key: fc.constantFrom("a", "b"), offset: fc.nat(29), length: fc.integer({ min: 1, max: 20 }) }),
    );
    fc.assert(
      fc.property(segments, fc.integer({ min: 1, max: 40 }), (list, windowBytes) => {
        const cut = (key: string, offset: number, length: number) => (texts[key] ?? "").slice(offset, offset + length);
        const blocks = [...planReads(list, windowBytes)];
        const copied = blocks.map(({ bytes, reads }) => {
          let block = "?".repeat(bytes);
          for (const { key, offset, length, parts } of reads) {
            let rest = cut(key, offset, length);
            for (const part of parts) {
              block = block.slice(0, part.at) + rest.slice(0, part.length) + block.slice(part.at + part.length);
              rest = rest.slice(part.length);
            }
            expect(rest).toBe("");
          }
          return block;
        });
        expect(copied.join("")).toBe(list.map(({ key, offset, length }) => cut(key, offset, length)).join(""));
        expect(blocks.slice(0, -1).every(({ bytes }) => bytes === windowBytes)).toBe(true);
      }),
    );
  });
});
