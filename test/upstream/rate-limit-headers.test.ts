import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { readRateLimit } from "../../src/upstream/rate-limit-headers.ts";

const now = new Date("2026-10-01T12:00:00Z");

function read(headers: Readonly<Record<string, string>>) {
  return readRateLimit(new Headers(headers), now);
}

function readReset(reset: string): number | null | undefined {
  return read({ "x-ratelimit-remaining-tokens": "1", "x-ratelimit-reset-tokens": reset })?.tokens?.resetSeconds;
}

describe("what servers send", () => {
  test.each([
    [
      "OpenAI",
      {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-limit-tokens": "150000",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-remaining-tokens": "149984",
        "x-ratelimit-reset-requests": "1s",
        "x-ratelimit-reset-tokens": "6m0s",
      },
      {
        requests: { limit: 60, remaining: 59, resetSeconds: 1 },
        tokens: { limit: 150_000, remaining: 149_984, resetSeconds: 360 },
      },
    ],
    [
      "Groq",
      {
        "x-ratelimit-limit-requests": "14400",
        "x-ratelimit-limit-tokens": "18000",
        "x-ratelimit-remaining-requests": "14370",
        "x-ratelimit-remaining-tokens": "17997",
        "x-ratelimit-reset-requests": "2m59.56s",
        "x-ratelimit-reset-tokens": "7.66s",
      },
      {
        requests: { limit: 14_400, remaining: 14_370, resetSeconds: 179.56 },
        tokens: { limit: 18_000, remaining: 17_997, resetSeconds: 7.66 },
      },
    ],
    [
      "Azure",
      { "x-ratelimit-remaining-requests": "79", "x-ratelimit-remaining-tokens": "61353" },
      {
        requests: { limit: null, remaining: 79, resetSeconds: null },
        tokens: { limit: null, remaining: 61_353, resetSeconds: null },
      },
    ],
    [
      "Azure, which does not know",
      {
        "x-ratelimit-limit-tokens": "-1",
        "x-ratelimit-remaining-tokens": "-1",
        "x-ratelimit-reset-tokens": "0",
      },
      null,
    ],
    [
      "Anthropic",
      {
        "x-ratelimit-limit-requests": "50",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "2026-10-01T12:00:48Z",
      },
      { requests: { limit: 50, remaining: 0, resetSeconds: 48 }, tokens: null },
    ],
    [
      "a proxy that passes nothing on",
      { "x-ratelimit-limit-requests": "None", "x-ratelimit-remaining-requests": "None" },
      null,
    ],
    ["a server without limits", { "x-ratelimit-limit-requests": "0", "x-ratelimit-remaining-requests": "0" }, null],
    ["others", { "content-type": "application/json", "x-ratelimit-limit": "60", "x-ratelimit-remaining": "0" }, null],
  ])("%s", (_who, headers, expected) => {
    expect(read(headers)).toEqual(expected);
  });
});

describe("a reset", () => {
  test.each([
    ["20ms", 0.02],
    ["1s", 1],
    ["1m", 60],
    ["6m0s", 360],
    ["4m12.172s", 252.172],
    ["23h18m29.144s", 83_909.144],
    ["500µs", 0.0005],
    ["500us", 0.0005],
    ["0s", 0],
    ["0", 0],
    ["55", 55],
    [" 1.5 ", 1.5],
    ["999999999", 999_999_999],
    // A moment, in seconds and in milliseconds.
    [String(Date.parse("2026-10-01T12:00:30Z") / 1000), 30],
    [String(Date.parse("2026-10-01T12:00:30Z")), 30],
    ["2026-10-01T12:00:30Z", 30],
    ["2026-10-01T12:00:30.5Z", 30.5],
    ["2026-10-01t12:00:30z", 30],
    ["2026-10-01T14:00:30+02:00", 30],
    ["2026-10-01T12:00:30", 30],
    ["2026-10-01 12:00:30.000000", 30],
    ["2026-10-01T11:00:00Z", 0],
  ])("%j is in %d seconds", (text, seconds) => {
    expect(readReset(text)).toBeCloseTo(seconds, 6);
  });

  test.each([
    [""],
    ["soon"],
    ["None"],
    ["-1"],
    ["-5s"],
    ["1e3"],
    ["1s later"],
    ["s"],
    ["1x"],
    ["1.2.3s"],
    ["1 s"],
    ["9".repeat(400)],
    [`${"9".repeat(400)}s`],
    ["2026-13-01T12:00:30Z"],
    ["2026-10-01"],
    ["Thu, 01 Oct 2026 12:01:30 GMT"],
  ])("%j is left out", (text) => {
    expect(readReset(text)).toBeNull();
  });
});

test.each([["1.5"], ["-3"], ["many"], ["0x10"], ["1e3"], ["1, 2"], ["9".repeat(40)], [""]])(
  "a count of %j is left out",
  (text) => {
    expect(read({ "x-ratelimit-limit-requests": "9", "x-ratelimit-remaining-requests": text })).toEqual({
      requests: { limit: 9, remaining: null, resetSeconds: null },
      tokens: null,
    });
  },
);

test("whatever is sent, numbers are not negative and not endless", () => {
  const value = fc.oneof(
    fc.stringMatching(/^[0-9.hmsnuµ]{0,12}$/),
    fc.stringMatching(/^[ -~]{0,30}$/),
    fc.date({ noInvalidDate: true }).map((date) => date.toISOString()),
  );
  fc.assert(
    fc.property(value, value, value, (limit, remaining, reset) => {
      const headers = new Map([
        ["x-ratelimit-limit-tokens", limit],
        ["x-ratelimit-remaining-tokens", remaining],
        ["x-ratelimit-reset-tokens", reset],
      ]);
      const told = { get: (name: string) => headers.get(name) ?? null } as Headers;
      const quota = readRateLimit(told, now)?.tokens;
      for (const number of Object.values(quota ?? {})) {
        expect(number === null || (number >= 0 && Number.isFinite(number))).toBe(true);
      }
    }),
  );
});
