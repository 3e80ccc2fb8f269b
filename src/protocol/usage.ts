/** Reads token usage out of an upstream's own report. Summing it is the domain's. */
import type { Usage } from "../domain/batch.ts";
import { isObject } from "./json.ts";

/**
 * Reads `usage` of an upstream's answer: either spelling (`prompt_tokens` or `input_tokens`).
 * Null when there is none, or nothing in it is a count.
 */
export function readUsage(value: unknown): Usage | null {
  if (!isObject(value)) return null;
  const inputTokens = count(value["input_tokens"]) ?? count(value["prompt_tokens"]);
  const outputTokens = count(value["output_tokens"]) ?? count(value["completion_tokens"]);
  const totalTokens = count(value["total_tokens"]);
  if (inputTokens === null && outputTokens === null && totalTokens === null) return null;
  return {
    inputTokens: inputTokens ?? 0,
    cachedTokens:
      detail(value["input_tokens_details"], "cached_tokens") ??
      detail(value["prompt_tokens_details"], "cached_tokens") ??
      0,
    outputTokens: outputTokens ?? 0,
    reasoningTokens:
      detail(value["output_tokens_details"], "reasoning_tokens") ??
      detail(value["completion_tokens_details"], "reasoning_tokens") ??
      0,
    totalTokens: totalTokens ?? (inputTokens ?? 0) + (outputTokens ?? 0),
  };
}

function detail(details: unknown, name: string): number | null {
  return isObject(details) ? count(details[name]) : null;
}

function count(value: unknown): number | null {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0 ? value : null;
}
