import { expect, test } from "vitest";
import { canBeSent } from "../../src/domain/bearer-key.ts";

test.each([
  ["sk-proj-Aa0_-.~+/=", true],
  ["!", true],
  ["~", true],
  ["", false],
  [" ", false],
  ["sk a", false],
  ["sk\u007F", false],
  ["sk\u0080", false],
  ["skü", false],
  ["sk\n", false],
  ["sk\u0000", false],
])("%j can be sent: %s", (key, expected) => {
  expect(canBeSent(key)).toBe(expected);
});
