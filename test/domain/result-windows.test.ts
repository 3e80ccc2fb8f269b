import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Segment } from "../../src/domain/result-order.ts";
import { planWindows } from "../../src/domain/result-windows.ts";

const segment = (key: string, offset: number, length: number): Segment => ({ key, offset, length });

describe("planWindows", () => {
  test("reads each chunk once, however often its lines alternate with others", () => {
    const segments = [segment("a", 5, 1), segment("b", 0, 2), segment("a", 6, 3), segment("b", 2, 4)];
    expect([...planWindows(segments, 100)]).toMatchObject([
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
    const [window] = [...planWindows([segment("a", 0, 1), segment("a", 9, 1)], 100)];
    expect(window?.reads).toMatchObject([
      { key: "a", offset: 0, length: 1 },
      { key: "a", offset: 9, length: 1 },
    ]);
  });

  test.each([
    ["just fills a window", 8, [8]],
    ["is a byte longer", 9, [8, 1]],
    ["fills two and a half", 20, [8, 8, 4]],
  ])("a segment that %s", (_what, length, expected) => {
    expect([...planWindows([segment("a", 3, length)], 8)].map(({ bytes }) => bytes)).toEqual(expected);
  });

  test("a file without lines has no window", () => {
    expect([...planWindows([], 8)]).toEqual([]);
  });

  test("the windows, one after the other, are the segments, one after the other", () => {
    const texts: Readonly<Record<string, string>> = { a: "abcdefghij".repeat(5), b: "0123456789".repeat(5) };
    const segments = fc.array(
      fc.record({ key: fc.constantFrom("a", "b"), offset: fc.nat(29), length: fc.integer({ min: 1, max: 20 }) }),
    );
    fc.assert(
      fc.property(segments, fc.integer({ min: 1, max: 40 }), (list, windowBytes) => {
        const cut = (key: string, offset: number, length: number) => (texts[key] ?? "").slice(offset, offset + length);
        const windows = [...planWindows(list, windowBytes)];
        const copied = windows.map(({ bytes, reads }) => {
          let window = "?".repeat(bytes);
          for (const { key, offset, length, parts } of reads) {
            let rest = cut(key, offset, length);
            for (const part of parts) {
              window = window.slice(0, part.at) + rest.slice(0, part.length) + window.slice(part.at + part.length);
              rest = rest.slice(part.length);
            }
            expect(rest).toBe("");
          }
          return window;
        });
        expect(copied.join("")).toBe(list.map(({ key, offset, length }) => cut(key, offset, length)).join(""));
        expect(windows.slice(0, -1).every(({ bytes }) => bytes === windowBytes)).toBe(true);
      }),
    );
  });
});
