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
    heldLines: 0,
    mostSlots: Infinity,
  }));
}

function inSecondQueue(dispatch: DispatchState): DispatchState {
  return { ...dispatch, token: `${dispatch.token}.2` };
}

/** @param heldLines what each has in flight. */
function working(count: number, heldLines = 0): DispatchState[] {
  return Array.from({ length: count }, (_, index) => ({
    token: `working ${index}`,
    phase: "working",
    since: NOON,
    heldLines,
    mostSlots: Infinity,
  }));
}

function windingDown(heldLines: number): DispatchState[] {
  return [{ token: "winding down", phase: "winding_down", since: NOON, heldLines, mostSlots: Infinity }];
}

/** Its consumer works for others, too. */
function sparing(mostSlots: number): DispatchState {
  return { token: "sparing", phase: "working", since: NOON, heldLines: 0, mostSlots };
}

function fresh(): DispatchState {
  return { token: "fresh", phase: "working", since: NOON, heldLines: 0, mostSlots: Infinity };
}

function demand(allowedLines: number, claimableLines: number, dispatches: readonly DispatchState[] = []): Demand {
  return { allowedLines, claimableLines, linesPerInvocation: 5, mostDispatches: 240, dispatches };
}

function heldBy(dispatches: readonly DispatchState[]): number {
  return sum(dispatches.map(({ heldLines }) => heldLines));
}

function sum(lines: readonly number[]): number {
  return lines.reduce((all, more) => all + more, 0);
}

const states = fc.array(
  fc.record({
    phase: fc.constantFrom<DispatchState["phase"]>("sent", "working", "winding_down"),
    since: fc.constant(NOON),
    heldLines: fc.nat(64),
    mostSlots: fc.constantFrom(1, 3, Infinity),
  }),
  { maxLength: 30 },
);

const demands: fc.Arbitrary<Demand> = fc.record({
  allowedLines: fc.nat(100),
  claimableLines: fc.nat(1000),
  linesPerInvocation: fc.integer({ min: 1, max: 64 }),
  mostDispatches: fc.integer({ min: 1, max: 40 }),
  dispatches: states.map((list) =>
    list.map(({ heldLines, ...dispatch }, index) => ({
      ...dispatch,
      token: `t${index}`,
      heldLines: dispatch.phase === "sent" ? 0 : heldLines,
    })),
  ),
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
    ["sends more where there are more queues", { ...demand(9600, 10_000, working(959, 5)), mostDispatches: 960 }, 1],
    ["and no more than those take", { ...demand(9600, 10_000, working(960, 5)), mostDispatches: 960 }, 0],
    ["counts those in the queue as full", demand(20, 1000, sent(3)), 1],
    ["leaves lines to those that were sent for them", demand(64, 10, sent(2)), 0],
    ["counts those at work as full", demand(20, 1000, working(3)), 1],
    ["counts those at work as what their consumers can spare", demand(20, 1000, [sparing(2), ...working(2)]), 2],
    ["counts what others still finish", demand(20, 1000, windingDown(4)), 4],
    ["sends none while they have all", demand(20, 1000, windingDown(20)), 0],
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
    ["leaves others what they have until they have heard", demand(8, 0, working(2, 5)), "working 1", 3],
    ["keeps one line of its own, though others have all", demand(8, 0, working(2, 8)), "working 1", 1],
    ["gives nothing to one that comes, while others have all", demand(5, 0, [...working(1, 5), fresh()]), "fresh", 0],
    ["gives what others have left", demand(5, 0, [...working(1, 4), fresh()]), "fresh", 1],
    ["gives back what it has itself", demand(5, 0, working(1, 5)), "working 0", 5],
    ["gives nothing in a pause", demand(0, 0, working(2)), "working 0", 0],
    ["gives nothing in a pause to one that has lines", demand(0, 0, working(2, 5)), "working 0", 0],
    [
      "gives nothing while those that wind down have all",
      demand(4, 0, [...working(1), ...windingDown(4)]),
      "working 0",
      0,
    ],
    ["gives nothing to one in the queue", demand(64, 0, sent(1)), "sent 0", 0],
    ["gives no more than its consumer can spare", demand(64, 0, [sparing(2)]), "sparing", 2],
    ["gives to others what one cannot have", demand(8, 0, [sparing(1), ...working(2)]), "working 0", 4],
    ["and no more than they can have", demand(64, 0, [sparing(1), ...working(2)]), "working 1", 5],
    ["gives nothing to a stranger", demand(64, 0, working(1)), "nobody", 0],
  ])("%s", (_what, wanted, token, slots) => {
    expect(planSlots(wanted, token)).toBe(slots);
  });

  test("hands out no more than is allowed, and no more than one can hold", () => {
    fc.assert(
      fc.property(demands, (wanted) => {
        const slots = wanted.dispatches.map(({ token }) => planSlots(wanted, token));
        const held = heldBy(wanted.dispatches.filter(({ phase }) => phase === "winding_down"));
        expect(sum(slots)).toBeLessThanOrEqual(Math.max(0, wanted.allowedLines - held));
        for (const [index, { mostSlots }] of wanted.dispatches.entries()) {
          expect(slots[index]).toBeLessThanOrEqual(Math.min(wanted.linesPerInvocation, mostSlots));
        }
      }),
    );
  });

  test("adds nothing to what they hold while that is all that is allowed", () => {
    fc.assert(
      fc.property(demands, (wanted) => {
        fc.pre(heldBy(wanted.dispatches) >= wanted.allowedLines);
        for (const { token, heldLines } of wanted.dispatches) {
          expect(planSlots(wanted, token)).toBeLessThanOrEqual(heldLines);
        }
      }),
    );
  });
});

describe("dispatches that come, hear and report one after the other", () => {
  interface Step {
    readonly index: number;
    /** Of what it may have or has in flight, what it then has. */
    readonly fraction: number;
    /** Lines that are allowed from here on. */
    readonly allowedLines: number;
  }

  const changes = fc.record({
    index: fc.nat(19),
    fraction: fc.constantFrom(0, 0.5, 1),
    allowedLines: fc.nat(100),
  });

  /** @returns after each step, what all have in flight together, or may have. */
  function play(linesPerInvocation: number, steps: readonly Step[]): readonly number[] {
    const slots = new Map<number, number>();
    const inFlight = new Map<number, number>();
    return steps.map(({ index, fraction, allowedLines }) => {
      slots.set(index, slots.get(index) ?? 0);
      const most = (number: number) => Math.max(slots.get(number) ?? 0, inFlight.get(number) ?? 0);
      inFlight.set(index, Math.round(most(index) * fraction));
      const dispatches = [...slots.keys()].map(
        // The one that reports has what it says.
        (number): DispatchState => ({
          token: `${number}`,
          phase: "working",
          since: NOON,
          mostSlots: Infinity,
          heldLines: number === index ? (inFlight.get(number) ?? 0) : most(number),
        }),
      );
      slots.set(index, planSlots({ ...demand(allowedLines, 0, dispatches), linesPerInvocation }, `${index}`));
      return sum([...slots.keys()].map(most));
    });
  }

  test("never have more than is allowed", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 100 }),
        fc.integer({ min: 1, max: 64 }),
        fc.array(changes, { maxLength: 60 }),
        (allowedLines, most, steps) => {
          const totals = play(
            most,
            steps.map((step) => ({ ...step, allowedLines })),
          );
          expect(Math.max(0, ...totals)).toBeLessThanOrEqual(allowedLines);
        },
      ),
    );
  });

  test("have more than is allowed only as long as they had more before", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 64 }), fc.array(changes, { maxLength: 60 }), (most, steps) => {
        for (const [index, total] of play(most, steps).entries()) {
          const before = play(most, steps.slice(0, index)).at(-1) ?? 0;
          expect(total).toBeLessThanOrEqual(Math.max(before, steps[index]?.allowedLines ?? 0));
        }
      }),
    );
  });
});

describe("mustMakeRoom", () => {
  test.each([
    ["after 45 s, when another one waits for a consumer", [...working(1), ...sent(1)], 45, true],
    ["not before", [...working(1), ...sent(1)], 44, false],
    ["not when it waits in another queue", [...working(1), ...sent(1).map(inSecondQueue)], 600, false],
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
