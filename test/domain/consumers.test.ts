import { describe, expect, test } from "vitest";
import { limitByConsumers, missingConsumers } from "../../src/domain/consumers.ts";

describe("limitByConsumers", () => {
  test.each([
    ["leaves what fits", 1200, 5, 1200],
    ["leaves ten consumers to others", 1201, 5, 1200],
    ["goes by the lines of an invocation", 2000, 1, 240],
  ])("%s", (_what, maxInFlight, linesPerInvocation, lines) => {
    expect(limitByConsumers(maxInFlight, linesPerInvocation)).toBe(lines);
  });
});

describe("missingConsumers", () => {
  test.each([
    ["none with one upstream that takes all", [1250], 5, null],
    ["one line more is a consumer more", [1251], 5, { wanted: 251, available: 250 }],
    ["each upstream rounds up", [...Array.from({ length: 19 }, () => 64), 16], 5, { wanted: 251, available: 250 }],
    ["none with nineteen default ones", Array.from({ length: 19 }, () => 64), 5, null],
    ["none without an upstream", [], 5, null],
  ])("%s", (_what, maxInFlights, linesPerInvocation, missing) => {
    expect(missingConsumers(maxInFlights, linesPerInvocation)).toEqual(missing);
  });
});
