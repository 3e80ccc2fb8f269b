import { expect, test } from "vitest";
import { isGuestsPacer, pacerName, upstreamOf } from "../../src/domain/pacer-name.ts";

test.each([
  ["of an upstream", "openai", null, "openai"],
  ["of a guest there", "openai", "guest-7", "openai:guest-7"],
  ["of a guest with the separator in its name", "openai", "a:b", "openai:a:b"],
])("the pacer %s has a name of its own, and knows its upstream", (_, upstream, guest, name) => {
  expect(pacerName(upstream, guest)).toBe(name);
  expect(upstreamOf(name)).toBe(upstream);
  expect(isGuestsPacer(name)).toBe(guest !== null);
});

test("an object without a name is of no upstream", () => {
  expect(upstreamOf("")).toBe("");
});
