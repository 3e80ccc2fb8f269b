import { describe, expect, test } from "vitest";
import type { Usage } from "../../src/domain/batch.ts";
import { addUsage } from "../../src/domain/usage.ts";

describe("addUsage", () => {
  const one: Usage = { inputTokens: 1, cachedTokens: 2, outputTokens: 3, reasoningTokens: 4, totalTokens: 5 };

  test.each([
    [null, null, null],
    [one, null, one],
    [null, one, one],
    [one, one, { inputTokens: 2, cachedTokens: 4, outputTokens: 6, reasoningTokens: 8, totalTokens: 10 }],
  ])("adds %j and %j", (a, b, sum) => {
    expect(addUsage(a, b)).toEqual(sum);
  });
});
