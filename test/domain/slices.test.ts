import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { cutSlices } from "../../src/domain/slices.ts";

const KIB = 1024;
const MAX_SLICE_BYTES = 1024 * KIB;
const MAX_SLICE_LINES = 50;

/** Slices of a file whose lines have these lengths, and which starts at `start`. */
function cut(lengths: readonly number[], start = 0) {
  const lineStarts: number[] = [];
  let end = start;
  for (const length of lengths) {
    lineStarts.push(end);
    end += length;
  }
  return { slices: cutSlices(lineStarts, end), end };
}

describe("cutSlices", () => {
  test.each([
    [1, 1, 1],
    [2, 2, 1],
    [10, 10, 1],
    [100, 100, 1],
    [101, 51, 2],
    [1000, 100, 10],
    [5000, 100, 50],
    [50_000, 1000, 50],
  ])("%i short lines make %i slices of %i lines", (lines, count, linesEach) => {
    const { slices } = cut(Array.from({ length: lines }, () => 100));
    expect(slices).toHaveLength(count);
    expect(slices[0]?.lineCount).toBe(linesEach);
  });

  test.each([
    ["exactly fill a slice", [512 * KIB, 512 * KIB], [2]],
    ["are one byte too long for it", [512 * KIB, 512 * KIB + 1], [1, 1]],
    ["hold a line longer than a slice", [10, 3 * MAX_SLICE_BYTES, 10, 10], [1, 1, 2]],
  ])("lines that %s", (_what, lengths, expected) => {
    const few = Array.from({ length: 400 }, () => 1);
    const { slices } = cut([...lengths, MAX_SLICE_BYTES, ...few]);
    expect(slices.slice(0, expected.length).map(({ lineCount }) => lineCount)).toEqual(expected);
  });

  test("covers every line and byte once, in order, within the limits", () => {
    const lengths = fc.array(fc.oneof(fc.integer({ min: 1, max: 500 }), fc.integer({ min: 1, max: 3_000_000 })), {
      minLength: 1,
      maxLength: 300,
    });
    fc.assert(
      fc.property(lengths, fc.nat(50), (lineLengths, start) => {
        const { slices, end } = cut(lineLengths, start);
        let line = 0;
        let byte = start;
        for (const [index, slice] of slices.entries()) {
          expect(slice).toMatchObject({ index, firstLine: line, byteStart: byte });
          expect(slice.lineCount).toBeGreaterThan(0);
          expect(slice.lineCount).toBeLessThanOrEqual(MAX_SLICE_LINES);
          if (slice.lineCount > 1) expect(slice.byteLength).toBeLessThanOrEqual(MAX_SLICE_BYTES);
          line += slice.lineCount;
          byte += slice.byteLength;
        }
        expect([line, byte]).toEqual([lineLengths.length, end]);
      }),
    );
  });
});
