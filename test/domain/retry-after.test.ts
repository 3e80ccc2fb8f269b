import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { readRetryAfter } from "../../src/domain/retry-after.ts";

const now = new Date("2026-10-01T12:00:00Z");

function read(retryAfter: string | null, retryAfterMs: string | null = null): number | null {
  return readRetryAfter({ retryAfter, retryAfterMs, now });
}

describe("readRetryAfter", () => {
  test.each([
    ["0", 0],
    ["30", 30],
    [" 30 ", 30],
    ["1.5", 1.5],
    ["2.", 2],
    ["3600", 3600],
    ["99999999", 99_999_999],
    ["Thu, 01 Oct 2026 12:01:30 GMT", 90],
    ["Thursday, 01-Oct-26 12:01:30 GMT", 90],
    ["Thu Oct  1 12:01:30 2026", 90],
    ["Thu, 01 Oct 2026 11:00:00 GMT", 0],
  ])("reads %j as %d seconds", (header, seconds) => {
    expect(read(header)).toBe(seconds);
  });

  test.each([
    [null],
    [""],
    ["-5"],
    ["soon"],
    ["1e3"],
    ["0x10"],
    ["Infinity"],
    ["NaN"],
    ["9".repeat(400)],
    ["5 seconds"],
    ["1, 2"],
    ["abc 5"],
    ["2026-10-01T12:01:30Z"],
    ["Thu, 99 Oct 2026 12:01:30 GMT"],
    ["Thu, 01 Foo 2026 12:01:30 GMT"],
  ])("ignores %j", (header) => {
    expect(read(header)).toBeNull();
  });

  test.each([
    ["20", "1500", 1.5],
    [null, "250.5", 0.2505],
    ["20", "nonsense", 20],
    ["20", "-1", 20],
    [null, "", null],
  ])("prefers milliseconds that make sense: %j and %j", (seconds, milliseconds, expected) => {
    expect(read(seconds, milliseconds)).toBe(expected);
  });

  test("never throws, and never asks for a negative or endless wait", () => {
    fc.assert(
      fc.property(fc.option(fc.string()), fc.option(fc.string()), (seconds, milliseconds) => {
        const result = read(seconds, milliseconds);
        expect(result === null || (result >= 0 && Number.isFinite(result))).toBe(true);
      }),
    );
  });
});
