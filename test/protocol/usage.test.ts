import { describe, expect, test } from "vitest";
import type { Usage } from "../../src/domain/batch.ts";
import { readUsage } from "../../src/protocol/usage.ts";

const NONE: Usage = { inputTokens: 0, cachedTokens: 0, outputTokens: 0, reasoningTokens: 0, totalTokens: 0 };

describe("readUsage", () => {
  test.each([
    [
      "chat completions",
      {
        prompt_tokens: 10,
        prompt_tokens_details: { cached_tokens: 4 },
        completion_tokens: 5,
        completion_tokens_details: { reasoning_tokens: 3 },
        total_tokens: 15,
      },
      { inputTokens: 10, cachedTokens: 4, outputTokens: 5, reasoningTokens: 3, totalTokens: 15 },
    ],
    [
      "responses",
      {
        input_tokens: 10,
        input_tokens_details: { cached_tokens: 4 },
        output_tokens: 5,
        output_tokens_details: { reasoning_tokens: 3 },
        total_tokens: 15,
      },
      { inputTokens: 10, cachedTokens: 4, outputTokens: 5, reasoningTokens: 3, totalTokens: 15 },
    ],
    ["embeddings", { prompt_tokens: 7, total_tokens: 7 }, { ...NONE, inputTokens: 7, totalTokens: 7 }],
    [
      "no total",
      { prompt_tokens: 7, completion_tokens: 2 },
      { ...NONE, inputTokens: 7, outputTokens: 2, totalTokens: 9 },
    ],
    ["a total alone", { total_tokens: 9 }, { ...NONE, totalTokens: 9 }],
    [
      "details that are null",
      { prompt_tokens: 1, prompt_tokens_details: null },
      { ...NONE, inputTokens: 1, totalTokens: 1 },
    ],
    [
      "counts that are none",
      { prompt_tokens: "7", completion_tokens: -1, total_tokens: 3 },
      { ...NONE, totalTokens: 3 },
    ],
  ])("reads that of %s", (_what, value, usage) => {
    expect(readUsage(value)).toEqual(usage);
  });

  test.each([
    null,
    undefined,
    7,
    "usage",
    [],
    {},
    { prompt_tokens: null },
    { total_tokens: 1.5 },
    { total_tokens: 2 ** 60 },
  ])("finds none in %j", (value) => {
    expect(readUsage(value)).toBeNull();
  });
});
