import { describe, expect, test } from "vitest";
import { describeType, shorten, tooLong } from "../../src/protocol/refusal.ts";

describe("shorten", () => {
  test.each([
    ["a text of just that length", "x".repeat(100), undefined, "x".repeat(100)],
    ["a longer one", "x".repeat(101), undefined, `${"x".repeat(100)}…`],
    ["a text of the caller's length", "x".repeat(100), 100, "x".repeat(100)],
    ["one longer than the caller's length", "x".repeat(101), 100, `${"x".repeat(100)}…`],
    ["a character of two units at the edge", `${"x".repeat(99)}🦉`, 100, `${"x".repeat(99)}…`],
  ])("of %s", (_what, text, most, shortened) => {
    expect(shorten(text, most)).toBe(shortened);
  });
});

test.each([
  [null, "null"],
  [[], "an array"],
  [{}, "an object"],
  [7, "an integer"],
  [7.5, "a decimal"],
  ["", "a string"],
  [true, "a boolean"],
])("describeType says of %j: %s", (value, name) => {
  expect(describeType(value)).toBe(name);
});

test("tooLong names parameter and both lengths", () => {
  expect(tooLong("custom_id", 512, 513)).toEqual({
    code: "string_above_max_length",
    message:
      "Invalid 'custom_id': string too long. Expected a string with maximum length 512, but got a string with length 513 instead.",
    param: "custom_id",
  });
});
