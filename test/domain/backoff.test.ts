import { expect, test } from "vitest";
import { doublingPause } from "../../src/domain/backoff.ts";

test.each([
  [0, 10],
  [1, 20],
  [3, 80],
  [4, 100],
  [2000, 100],
])("after %i earlier pauses it is %i", (earlier, pause) => {
  expect(doublingPause(10, 100, earlier)).toBe(pause);
});
