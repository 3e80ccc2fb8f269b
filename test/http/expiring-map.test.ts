import { expect, test } from "vitest";
import { ExpiringMap } from "../../src/http/expiring-map.ts";

const at = (ms: number) => new Date(ms);

test("an entry is known until its time, and not at it", () => {
  const map = new ExpiringMap<string>(2);
  map.set("a", "x", at(100));
  expect(map.get("a", at(99))).toBe("x");
  expect(map.get("a", at(100))).toBeUndefined();
  expect(map.get("b", at(0))).toBeUndefined();
});

test("a full map forgets its oldest entry, and one that is set anew is no longer old", () => {
  const map = new ExpiringMap<number>(2);
  map.set("a", 1, at(100));
  map.set("b", 2, at(100));
  map.set("a", 3, at(100));
  expect(["a", "b"].map((key) => map.get(key, at(0)))).toEqual([3, 2]);
  map.set("c", 4, at(100));
  expect(["a", "b", "c"].map((key) => map.get(key, at(0)))).toEqual([3, undefined, 4]);
});
