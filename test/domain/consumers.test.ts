import { describe, expect, test } from "vitest";
import { limitByConsumers, missingConsumers, mostDispatches } from "../../src/domain/consumers.ts";

describe("limitByConsumers", () => {
  test.each([
    ["leaves what fits", 1200, 5, 1, 1200],
    ["leaves ten consumers to others", 1201, 5, 1, 1200],
    ["goes by the lines of an invocation", 2000, 1, 1, 240],
    ["leaves what fits four queues", 4800, 5, 4, 4800],
    ["leaves ten consumers of each queue to others", 4801, 5, 4, 4800],
  ])("%s", (_what, maxInFlight, linesPerInvocation, queues, lines) => {
    expect(limitByConsumers(maxInFlight, { linesPerInvocation, queues })).toBe(lines);
  });
});

test.each([
  [1, 240],
  [2, 480],
  [4, 960],
])("with %i queues a batch has at most %i dispatches", (queues, most) => {
  expect(mostDispatches(queues)).toBe(most);
});

describe("missingConsumers", () => {
  test.each([
    ["none with one upstream that takes all", [1250], 1, null],
    ["one line more is a consumer more", [1251], 1, { wanted: 251, available: 250 }],
    ["each upstream rounds up", [...Array.from({ length: 19 }, () => 64), 16], 1, { wanted: 251, available: 250 }],
    ["none with nineteen default ones", Array.from({ length: 19 }, () => 64), 1, null],
    ["none without an upstream", [], 1, null],
    ["none while four queues have as many", [5000], 4, null],
    ["one line more is a consumer more than four queues have", [5001], 4, { wanted: 1001, available: 1000 }],
  ])("%s", (_what, maxInFlights, queues, missing) => {
    expect(missingConsumers(maxInFlights, { linesPerInvocation: 5, queues })).toEqual(missing);
  });
});
