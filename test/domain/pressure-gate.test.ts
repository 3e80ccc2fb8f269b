import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { PressureGate } from "../../src/domain/pressure-gate.ts";

const SLOTS = 4;

/** Pushes a whole round of slots back at one moment. */
function pushBackRound(gate: PressureGate, now: number): void {
  for (let line = 0; line < SLOTS; line += 1) gate.observe("pressure", SLOTS, now);
}

/** The time for which the gate is closed by each of `rounds` rounds, one after the other. */
function closingTimes(gate: PressureGate, rounds: number): readonly number[] {
  return Array.from({ length: rounds }, () => {
    const now = gate.opensAt;
    pushBackRound(gate, now);
    return gate.opensAt - now;
  });
}

describe("the gate closes", () => {
  test("never before an upstream has answered", () => {
    expect(new PressureGate().isOpen(0)).toBe(true);
  });

  test("with the last of a whole round of slots, not with the last but one", () => {
    const gate = new PressureGate();
    for (let line = 1; line < SLOTS; line += 1) gate.observe("pressure", SLOTS, 1000);
    expect(gate.isOpen(1000)).toBe(true);
    gate.observe("pressure", SLOTS, 1000);
    expect(gate.isOpen(1000)).toBe(false);
  });

  test("at once where there is one slot", () => {
    const gate = new PressureGate();
    gate.observe("pressure", 1, 1000);
    expect(gate.opensAt).toBe(1500);
  });

  test("not when one answer of the round was fine", () => {
    const gate = new PressureGate();
    for (let line = 1; line < SLOTS; line += 1) gate.observe("pressure", SLOTS, 1000);
    gate.observe("fine", SLOTS, 1000);
    for (let line = 1; line < SLOTS; line += 1) gate.observe("pressure", SLOTS, 1000);
    expect(gate.isOpen(1000)).toBe(true);
  });
});

describe("a closed gate", () => {
  test("opens after half a second, and not a millisecond earlier", () => {
    const gate = new PressureGate();
    pushBackRound(gate, 1000);
    expect([gate.isOpen(1499), gate.isOpen(1500), gate.opensAt]).toEqual([false, true, 1500]);
  });

  test("is closed for twice the time each round, and for 30 s at most", () => {
    expect(closingTimes(new PressureGate(), 8)).toEqual([500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
  });

  test("stays closed no longer for lines that were in flight when it closed", () => {
    const gate = new PressureGate();
    pushBackRound(gate, 1000);
    pushBackRound(gate, 1499);
    expect(gate.opensAt).toBe(1500);
  });

  test("opens at once when an answer is fine, and begins anew with half a second", () => {
    const gate = new PressureGate();
    closingTimes(gate, 3);
    const now = gate.opensAt - 1;
    gate.observe("fine", SLOTS, now);
    expect(gate.isOpen(now)).toBe(true);
    pushBackRound(gate, now);
    expect(gate.opensAt).toBe(now + 500);
  });
});

test("whatever comes, it is closed for 30 s at most, and open behind a fine answer", () => {
  const outcomes = fc.array(
    fc.record({
      outcome: fc.constantFrom("fine" as const, "pressure" as const),
      slots: fc.integer({ min: 1, max: 8 }),
      afterMs: fc.integer({ min: 0, max: 40_000 }),
    }),
    { maxLength: 200 },
  );
  fc.assert(
    fc.property(outcomes, (observed) => {
      const gate = new PressureGate();
      let now = 1000;
      for (const { outcome, slots, afterMs } of observed) {
        now += afterMs;
        gate.observe(outcome, slots, now);
        expect(gate.opensAt - now).toBeLessThanOrEqual(30_000);
        if (outcome === "fine") expect(gate.isOpen(now)).toBe(true);
      }
    }),
  );
});
