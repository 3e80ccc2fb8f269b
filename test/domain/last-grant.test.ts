import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Pause } from "../../src/domain/breaker.ts";
import { fadeGrant } from "../../src/domain/last-grant.ts";

const SECOND_MS = 1000;
const PAUSE: Pause = { reason: "away", failure: null, since: 0, probeAt: 60_000, seconds: 60 };

describe("while its pacer cannot be reached", () => {
  test.each([
    [0, 64],
    [59, 64],
    [60, 32],
    [119, 32],
    [120, 16],
    [180, 8],
    [240, 4],
    [300, 2],
    [360, 1],
    [86_400, 1],
  ])("for %i s, a batch with 64 lines goes on with %i", (seconds, lines) => {
    expect(fadeGrant({ lines: 64, pause: null }, seconds * SECOND_MS)).toEqual({ lines, pause: null });
  });

  test.each([
    [0, 0],
    [60, 0],
    [299, 0],
    [300, 1],
    [86_400, 1],
  ])("for %i s, a batch that waited for its turn has %i lines", (seconds, lines) => {
    expect(fadeGrant({ lines: 0, pause: null }, seconds * SECOND_MS)).toEqual({ lines, pause: null });
  });

  test.each([
    [59, 1, { lines: 1, pause: PAUSE }],
    [60, 1, { lines: 1, pause: null }],
    [299, 0, { lines: 0, pause: PAUSE }],
    [300, 0, { lines: 1, pause: null }],
  ])("for %i s, in a pause with %i lines", (seconds, lines, faded) => {
    expect(fadeGrant({ lines, pause: PAUSE }, seconds * SECOND_MS)).toEqual(faded);
  });

  test("it never has more as minutes pass, but for one line, and is never stranded", () => {
    const minutes = fc.nat(10_000_000);
    fc.assert(
      fc.property(fc.nat(5000), minutes, minutes, (lines, one, another) => {
        const at = (ms: number) => fadeGrant({ lines, pause: null }, ms).lines;
        const [early, late] = [Math.min(one, another), Math.max(one, another)];
        expect(at(late)).toBeLessThanOrEqual(Math.max(1, at(early)));
        expect(at(late)).toBeLessThanOrEqual(Math.max(1, lines));
        expect(at(early + 300_000)).toBeGreaterThan(0);
      }),
    );
  });
});
