import { describe, expect, test } from "vitest";
import { isUnicode, member, parseObject } from "../../src/protocol/json.ts";

test.each([
  ['{"a":1}', { a: 1 }],
  ["[1]", null],
  ["null", null],
  ['"text"', null],
  ["{", null],
  ["", null],
])("parseObject reads %s", (text, object) => {
  expect(parseObject(text)).toEqual(object);
});

test.each([
  [{ a: 1 }, "a", 1],
  [{ a: 1 }, "b", undefined],
  [{}, "toString", undefined],
  [["first"], "0", "first"],
  [null, "a", undefined],
  ["text", "length", undefined],
])("member of %j at %s", (value, name, found) => {
  expect(member(value, name)).toBe(found);
});

describe("isUnicode", () => {
  test.each([
    ["whole characters", { "\u{1F600}": ["\u{1F600}", "", null, 1, true] }, true],
    ["half of one as a value", "a\uD800", false],
    ["half of one as a name", { "\uDFFF": 1 }, false],
    ["halves in the wrong order", [{ a: ["\uDE00\uD83D"] }], false],
  ])("of %s", (_, value, expected) => {
    expect(isUnicode(value)).toBe(expected);
  });

  test("of what is nested deeper than the stack goes", () => {
    const deep = (inner: string) => JSON.parse(`${"[".repeat(100_000)}${inner}${"]".repeat(100_000)}`) as unknown;
    expect([isUnicode(deep('"a"')), isUnicode(deep(String.raw`"\ud800"`))]).toEqual([true, false]);
  });
});
