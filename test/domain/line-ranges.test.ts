import { expect, test } from "vitest";
import { describeLines } from "../../src/domain/line-ranges.ts";

test.each([
  [[], null],
  [[0], "1"],
  [[4, 2, 3], "3-5"],
  [[7, 0, 1, 9], "1-2,8,10"],
  [[1, 1, 2], "2-3"],
])("lines %j are %j", (lines, text) => {
  expect(describeLines(lines)).toBe(text);
});

test("scattered lines are cut off", () => {
  const text = describeLines(Array.from({ length: 51 }, (_, index) => index * 2));
  expect(text).toMatch(/^1,3,5,.*,97,99,…$/);
});
