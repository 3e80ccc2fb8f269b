import { describe, expect, test } from "vitest";
import { BATCH_STATUSES, type BatchStatus, canMove, isFinal, move, NO_TIMES } from "../../src/domain/batch.ts";
import { aBatch } from "../support/batch-record.ts";

const then = new Date("2026-10-01T12:00:00Z");
const now = new Date("2026-10-01T13:00:00Z");

const batch = aBatch({ id: "batch_1", createdAt: then, expiresAt: now });

const MOVES: readonly (readonly [BatchStatus, Exclude<BatchStatus, "validating">])[] = [
  ["validating", "in_progress"],
  ["validating", "failed"],
  ["validating", "cancelling"],
  ["validating", "expired"],
  ["in_progress", "finalizing"],
  ["in_progress", "cancelling"],
  ["in_progress", "expired"],
  ["in_progress", "failed"],
  ["finalizing", "completed"],
  ["finalizing", "failed"],
  ["cancelling", "cancelled"],
];

const isMove = (from: BatchStatus, to: BatchStatus) => MOVES.some(([a, b]) => a === from && b === to);
const PAIRS = BATCH_STATUSES.flatMap((from) => BATCH_STATUSES.map((to) => [from, to] as const));

describe("move", () => {
  test.each(MOVES)("goes from %s to %s, and notes when", (from, to) => {
    const earlier = { ...NO_TIMES, inProgressAt: from === "validating" ? null : then };
    const moved = move({ ...batch, status: from, times: earlier }, to, now);
    const name = `${to.replace(/_(\w)/, (_, letter: string) => letter.toUpperCase())}At`;
    expect(moved).toEqual({ ...batch, status: to, times: { ...earlier, [name]: now } });
  });

  test.each(PAIRS.filter(([from, to]) => !isMove(from, to)))("does not go from %s to %s", (from, to) => {
    expect(canMove(from, to)).toBe(false);
    if (to === "validating") return;
    expect(() => move({ ...batch, status: from }, to, now)).toThrow(`batch_1 cannot go from ${from} to ${to}`);
  });
});

test("completed, failed, expired and cancelled are final, and no others", () => {
  expect(BATCH_STATUSES.filter(isFinal).toSorted()).toEqual(["cancelled", "completed", "expired", "failed"]);
});
