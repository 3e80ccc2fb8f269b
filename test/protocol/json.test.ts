import { expect, test } from "vitest";
import { member, parseObject } from "../../src/protocol/json.ts";

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
