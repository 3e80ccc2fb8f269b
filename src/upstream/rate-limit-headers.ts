/**
 * Reads what an OpenAI-style server says of its own limits: `x-ratelimit-limit-requests`, `-remaining-requests`,
 * `-reset-requests`, and the same of tokens (platform.openai.com/docs/guides/rate-limits, "Rate limits in headers").
 * Whatever makes no sense is left out; what to make of the rest is the domain's business.
 *
 *   OpenAI, Groq   all six; resets are Go durations: `120ms`, `7.66s`, `6m0s`, `23h18m29.144s`
 *   Azure          often `remaining` alone; a reset is a number of seconds; -1 for what it does not know
 *   Anthropic      resets are times, RFC 3339
 *   LiteLLM        passes on what its upstream said, or says its own: a number of seconds, or a time
 *   vLLM, Ollama   nothing
 */
import type { Quota, RateLimit } from "../domain/rate-limit.ts";

const DIGITS = /^[0-9]{1,15}$/;
const DECIMAL = /^[0-9]{1,15}(?:\.[0-9]*)?$/;
const DURATION = /^(?:[0-9]+(?:\.[0-9]*)?(?:ms|us|µs|ns|h|m|s))+$/;
const DURATION_PARTS = /([0-9.]+)(ms|us|µs|ns|h|m|s)/g;
const SECONDS_OF_UNIT: ReadonlyMap<string, number> = new Map([
  ["h", 3600],
  ["m", 60],
  ["s", 1],
  ["ms", 1e-3],
  ["us", 1e-6],
  ["µs", 1e-6],
  ["ns", 1e-9],
]);
/** `2026-10-01T12:01:30Z`, with a blank for the T and without a zone as well: UTC then. */
const TIMESTAMP =
  /^([0-9]{4}-[0-9]{2}-[0-9]{2})[T ]([0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?)(Z|[+-][0-9]{2}:[0-9]{2})?$/i;
/** A larger number of seconds is a moment, counted from 1970; one of milliseconds where it is larger still. */
const LEAST_MOMENT_SECONDS = 1e9;
const LEAST_MOMENT_MS = 1e12;

/** Null: it says nothing of its limits. */
export function readRateLimit(headers: Headers, now: Date): RateLimit | null {
  const requests = readQuota(headers, "requests", now);
  const tokens = readQuota(headers, "tokens", now);
  return requests === null && tokens === null ? null : { requests, tokens };
}

function readQuota(headers: Headers, kind: "requests" | "tokens", now: Date): Quota | null {
  const limit = readCount(headers.get(`x-ratelimit-limit-${kind}`));
  const remaining = readCount(headers.get(`x-ratelimit-remaining-${kind}`));
  // A limit of 0 is what some servers say for none.
  if (limit === 0 || (limit === null && remaining === null)) return null;
  return { limit, remaining, resetSeconds: readReset(headers.get(`x-ratelimit-reset-${kind}`), now) };
}

function readCount(text: string | null): number | null {
  const trimmed = text?.trim() ?? "";
  return DIGITS.test(trimmed) ? Number(trimmed) : null;
}

/** In seconds from now; 0 for a time that has passed. */
function readReset(text: string | null, now: Date): number | null {
  const trimmed = text?.trim() ?? "";
  if (DECIMAL.test(trimmed)) return fromNumber(Number(trimmed), now);
  if (DURATION.test(trimmed)) return fromDuration(trimmed);
  const parts = TIMESTAMP.exec(trimmed);
  if (parts === null) return null;
  const time = Date.parse(`${parts[1]}T${parts[2]}${(parts[3] ?? "Z").toUpperCase()}`);
  return Number.isNaN(time) ? null : secondsUntil(time, now);
}

function fromNumber(value: number, now: Date): number {
  if (value < LEAST_MOMENT_SECONDS) return value;
  return secondsUntil(value < LEAST_MOMENT_MS ? value * 1000 : value, now);
}

function fromDuration(text: string): number | null {
  let seconds = 0;
  for (const [, value, unit] of text.matchAll(DURATION_PARTS)) {
    seconds += Number(value) * (SECONDS_OF_UNIT.get(unit ?? "") ?? Number.NaN);
  }
  return Number.isFinite(seconds) ? seconds : null;
}

function secondsUntil(time: number, now: Date): number {
  return Math.max(0, (time - now.getTime()) / 1000);
}
