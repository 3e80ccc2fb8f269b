import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  type Demand,
  type DispatchState,
  mustMakeRoom,
  planDispatches,
  planGrant,
  planScaleMessages,
  planSlots,
} from "../../src/domain/dispatch-plan.ts";

const NOON = new Date("2026-10-01T12:00:00Z");

function sent(count: number): DispatchState[] {
  return Array.from({ length: count }, (_, index) => ({
    token: `sent ${index}`,
    phase: "sent",
    since: NOON,
    openLines: 0,
    slots: 0,
  }));
}

/** @param slots what each was last given. */
function working(count: number, slots = 0): DispatchState[] {
  return Array.from({ length: count }, (_, index) => ({
    token: `working ${index}`,
    phase: "working",
    since: NOON,
    openLines: 0,
    slots,
  }));
}

function windingDown(openLines: number): DispatchState[] {
  return [{ token: "winding down", phase: "winding_down", since: NOON, openLines, slots: 5 }];
}

function demand(allowedLines: number, claimableLines: number, dispatches: readonly DispatchState[] = []): Demand {
  return { allowedLines, claimableLines, linesPerInvocation: 5, dispatches };
}

const states = fc.array(
  fc.record({
    phase: fc.constantFrom<DispatchState["phase"]>("sent", "working", "winding_down"),
    since: fc.constant(NOON),
    openLines: fc.nat(20),
    slots: fc.nat(64),
  }),
  { maxLength: 30 },
);

const demands: fc.Arbitrary<Demand> = fc.record({
  allowedLines: fc.nat(100),
  claimableLines: fc.nat(1000),
  linesPerInvocation: fc.integer({ min: 1, max: 64 }),
  dispatches: states.map((list) => list.map((dispatch, index) => ({ ...dispatch, token: `t${index}` }))),
});

describe("planDispatches", () => {
  test.each([
    ["fills the window", demand(20, 1000), 4],
    ["rounds up, so that a last few slots are used", demand(21, 1000), 5],
    ["sends no more than there are lines for", demand(64, 7), 2],
    ["sends one for a single line", demand(64, 1), 1],
    ["sends none when no line can run", demand(64, 0), 0],
    ["sends none in a pause", demand(0, 1000), 0],
    ["sends as many as one batch may have", demand(2000, 10_000, working(239, 5)), 1],
    ["and no more, so that consumers are left to others", demand(2000, 10_000, working(240, 5)), 0],
    ["counts those in the queue as full", demand(20, 1000, sent(3)), 1],
    ["leaves lines to those that were sent for them", demand(64, 10, sent(2)), 0],
    ["counts those at work as full", demand(20, 1000, working(3)), 1],
    ["counts what others still finish", demand(20, 1000, windingDown(4)), 4],
    ["of which no more are in flight than they have slots", demand(20, 1000, windingDown(15)), 3],
    ["sends none while there are more at work than the window allows", demand(2, 1000, working(6)), 0],
  ])("%s", (_what, wanted, count) => {
    expect(planDispatches(wanted)).toBe(count);
  });

  test("never sends more than the free slots and the waiting lines need", () => {
    fc.assert(
      fc.property(demands, (wanted) => {
        const { allowedLines, claimableLines, linesPerInvocation, dispatches } = wanted;
        const count = planDispatches(wanted);
        const held = dispatches.filter(({ phase }) => phase !== "winding_down").length;
        expect(count).toBeGreaterThanOrEqual(0);
        expect((count - 1) * linesPerInvocation).toBeLessThan(Math.max(1, allowedLines));
        expect((count - 1) * linesPerInvocation).toBeLessThan(Math.max(1, claimableLines));
        if (held * linesPerInvocation >= allowedLines && held >= allowedLines) expect(count).toBe(0);
      }),
    );
  });
});

describe("planScaleMessages", () => {
  test.each([
    ["one for each, when the batch has had no consumer", 13, 13, 0, 13],
    ["none for a replacement", 1, 13, 13, 0],
    ["one while the one before it winds down", 1, 14, 13, 1],
    ["one for each consumer that is new", 10, 23, 13, 10],
    ["no more than dispatches are sent", 2, 20, 5, 2],
    ["none when nothing is sent", 0, 3, 0, 0],
    ["none when there were more before", 3, 10, 13, 0],
  ])("%s", (_what, sentNow, atOnce, hadAtOnce, count) => {
    expect(planScaleMessages(sentNow, atOnce, hadAtOnce)).toBe(count);
  });
});

describe("planSlots", () => {
  test.each([
    ["gives all it can hold to the only one", demand(64, 0, working(1)), "working 0", 5],
    ["gives the window when that is less", demand(3, 0, working(1)), "working 0", 3],
    ["shares evenly, the first ones getting the rest", demand(8, 0, working(3)), "working 1", 3],
    ["and the last ones less", demand(8, 0, working(3)), "working 2", 2],
    ["gives nothing to those beyond the window", demand(2, 0, working(3)), "working 2", 0],
    ["leaves room for what others still finish", demand(8, 0, [...working(2), ...windingDown(4)]), "working 0", 2],
    ["leaves others what they were given until they have heard", demand(8, 0, working(2, 5)), "working 1", 3],
    ["gives one at least, though others have heard of nothing", demand(8, 0, working(2, 8)), "working 1", 1],
    ["counts not what it has itself", demand(5, 0, working(1, 5)), "working 0", 5],
    ["keeps one going, whatever the window", demand(0, 0, working(2)), "working 0", 1],
    ["gives nothing to one in the queue", demand(64, 0, sent(1)), "sent 0", 0],
    ["gives nothing to a stranger", demand(64, 0, working(1)), "nobody", 0],
  ])("%s", (_what, wanted, token, slots) => {
    expect(planSlots(wanted, token)).toBe(slots);
  });

  test("hands out no more than the window, and no more than one can hold", () => {
    fc.assert(
      fc.property(demands, (wanted) => {
        const slots = wanted.dispatches.map(({ token }) => planSlots(wanted, token));
        const total = slots.reduce((sum, count) => sum + count, 0);
        expect(total).toBeLessThanOrEqual(Math.max(1, wanted.allowedLines));
        expect(Math.max(0, ...slots)).toBeLessThanOrEqual(wanted.linesPerInvocation);
        if (wanted.dispatches.some(({ phase }) => phase === "working")) expect(total).toBeGreaterThan(0);
      }),
    );
  });
});

test("dispatches that come and hear one after the other never have more than the window, but for one line each", () => {
  const steps = fc.array(fc.nat(19), { maxLength: 60 });
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 100 }),
      fc.integer({ min: 1, max: 64 }),
      steps,
      (allowedLines, most, heard) => {
        const slots = new Map<number, number>();
        for (const index of heard) {
          slots.set(index, slots.get(index) ?? 0);
          const dispatches = [...slots].map(([number, given]): DispatchState => ({
            token: `${number}`,
            phase: "working",
            since: NOON,
            openLines: 0,
            slots: given,
          }));
          const wanted = { allowedLines, claimableLines: 0, linesPerInvocation: most, dispatches };
          slots.set(index, planSlots(wanted, `${index}`));
          const total = [...slots.values()].reduce((sum, given) => sum + given, 0);
          expect(total).toBeLessThan(allowedLines + slots.size);
        }
      },
    ),
  );
});

describe("mustMakeRoom", () => {
  test.each([
    ["after 45 s, when another one waits for a consumer", [...working(1), ...sent(1)], 45, true],
    ["not before", [...working(1), ...sent(1)], 44, false],
    ["not when others work, too", working(2), 600, false],
    [
      "not when another one is on its way",
      [...working(1), { ...sent(1)[0], since: new Date(NOON.getTime() + 50_001) }],
      60,
      false,
    ],
    [
      "when it has been on its way for 10 s",
      [...working(1), { ...sent(1)[0], since: new Date(NOON.getTime() + 50_000) }],
      60,
      true,
    ],
  ] as const)("%s", (_what, dispatches, seconds, expected) => {
    const now = new Date(NOON.getTime() + seconds * 1000);
    expect(mustMakeRoom(demand(64, 100, dispatches as DispatchState[]), "working 0", now)).toBe(expected);
  });

  test("does not count one that is gone", () => {
    expect(mustMakeRoom(demand(64, 100, sent(1)), "gone", new Date(NOON.getTime() + 600_000))).toBe(false);
  });
});

describe("planGrant", () => {
  test.each([
    ["gives what is wanted", demand(64, 1000, working(1)), 10, 10],
    ["gives no more than there is", demand(64, 3, working(1)), 10, 3],
    ["leaves lines to those in the queue, so that a small batch spreads", demand(64, 12, sent(2)), 10, 2],
    ["gives nothing when all is spoken for", demand(64, 10, sent(2)), 10, 0],
    ["gives nothing to one that wants nothing", demand(64, 100, working(1)), 0, 0],
    ["leaves the others their part", demand(20, 100, working(4)), 100, 25],
    ["gives all to one that has the whole window", demand(5, 100, working(1)), 100, 100],
    ["gives all to one that has more than the window", demand(2, 100, working(1)), 100, 100],
    ["fills the slots in any case", demand(100, 20, working(20)), 10, 5],
  ])("%s", (_what, wanted, lines, granted) => {
    expect(planGrant(wanted, 5, lines)).toBe(granted);
  });
});
