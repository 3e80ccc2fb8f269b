import { expect, test } from "vitest";
import { makeId } from "../../src/domain/ids.ts";

const random = new Uint8Array([0, 1, 15, 16, 255, 0, 0, 0, 0, 0, 0, 171]);

test.each([
  ["batch_", "2026-10-01T12:00:00.999Z", "batch_6abe4b4000010f10ff000000000000ab"],
  ["file-", "1970-01-01T00:00:01Z", "file-0000000100010f10ff000000000000ab"],
] as const)("%s of %s begins with its second", (prefix, time, id) => {
  expect(makeId(prefix, new Date(time), random)).toBe(id);
});

test.each([0, 11, 13])("takes no %i random bytes", (count) => {
  expect(() => makeId("batch_", new Date(0), new Uint8Array(count))).toThrow(RangeError);
});
