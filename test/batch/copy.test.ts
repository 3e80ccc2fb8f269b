import { describe, expect, test } from "vitest";
import { type CopyState, planRefresh } from "../../src/batch/copy.ts";

const running: CopyState = {
  shown: "in_progress",
  tried: "in_progress",
  status: "in_progress",
  hasEnded: false,
  isDue: true,
};

describe("planRefresh", () => {
  test.each<[string, Partial<CopyState>, ReturnType<typeof planRefresh>]>([
    ["a running batch whose time has come", {}, "progress"],
    ["a running batch whose time has not come", { isDue: false }, "nothing"],
    ["a new status, at once", { status: "finalizing", isDue: false }, "status"],
    ["a new status that D1 did not take, when it is due", { status: "finalizing", tried: "finalizing" }, "status"],
    ["the same, before it is due", { status: "finalizing", tried: "finalizing", isDue: false }, "nothing"],
    ["a batch that D1 does not know yet", { shown: null, tried: null, status: "validating", isDue: false }, "status"],
    [
      "a batch that validates, and is shown so",
      { shown: "validating", tried: "validating", status: "validating" },
      "nothing",
    ],
    ["a batch that is cancelled, and is shown so", { shown: "cancelling", status: "cancelling" }, "nothing"],
    ["a batch that has ended: its final status is published with its files", { hasEnded: true }, "nothing"],
    ["a batch that has ended with a status that is not shown", { hasEnded: true, status: "finalizing" }, "nothing"],
  ])("%s", (_, change, expected) => {
    expect(planRefresh({ ...running, ...change })).toBe(expected);
  });
});
