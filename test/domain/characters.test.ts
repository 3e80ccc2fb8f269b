import { describe, expect, test } from "vitest";
import { countCharacters, firstCharacters } from "../../src/domain/characters.ts";

describe("characters", () => {
  test.each([
    ["", 0],
    ["abc", 3],
    ["é猫", 2],
    ["a💥b", 3],
    ["\uD83D", 1],
    ["\uDCA5\uD83D", 2],
  ])("of %j are %i", (text, count) => {
    expect(countCharacters(text)).toBe(count);
  });

  test.each([
    ["abc", 3, "abc"],
    ["abc", 2, "ab"],
    ["a💥", 3, "a💥"],
    ["a💥", 2, "a"],
    ["a💥b", 3, "a💥"],
    ["💥", 1, ""],
    ["a\uD83D", 2, "a\uD83D"],
  ])("of %j, the first %i units, are %j", (text, units, kept) => {
    expect(firstCharacters(text, units)).toBe(kept);
  });
});
