import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { queueOf, tokenMaker } from "../../src/domain/dispatch-tokens.ts";

const draws = fc.array(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), { minLength: 1 });
const ID = "00000000-0000-4000-8000-000000000000";

/** Draws these numbers one after another, and then again. */
function chance(...drawn: readonly number[]) {
  let next = 0;
  const random = () => drawn[next++ % drawn.length] ?? 0;
  return { makeId: () => ID, random };
}

describe("a token", () => {
  test.each([
    [ID, 0],
    [`${ID}.2`, 1],
    [`${ID}.12`, 11],
    ["of an older version", 0],
  ])("%s is one of queue %i", (token, queue) => {
    expect(queueOf(token)).toBe(queue);
  });

  test("of the only queue is a bare id, as it was before there could be several", () => {
    expect(tokenMaker({ queues: [0], tokens: [] }, chance())()).toBe(ID);
  });

  test("goes where the batch has the fewest, and by chance where those are several", () => {
    const make = tokenMaker({ queues: [0, 1, 2], tokens: ["a", `${ID}.3`] }, chance(0));
    expect([make(), make(), make(), make(), make()].map((token) => queueOf(token))).toEqual([1, 0, 1, 2, 0]);
    const drawn = [0, 0.33, 0.34, 0.66, 0.67, 0.99];
    const firsts = drawn.map((number) => tokenMaker({ queues: [0, 1, 2], tokens: [] }, chance(number))());
    expect(firsts.map((token) => queueOf(token))).toEqual([0, 0, 1, 1, 2, 2]);
  });

  test("goes to none but the queues it may go to, whatever others still hold", () => {
    const make = tokenMaker({ queues: [1], tokens: ["a", `${ID}.2`, `${ID}.9`] }, chance(0.5));
    expect([make(), make()].map((token) => queueOf(token))).toEqual([1, 1]);
  });

  test("spreads evenly: no queue has two more of a batch than another", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 8 }), fc.nat(300), draws, (queues, count, drawn) => {
        const make = tokenMaker({ queues: [...Array.from({ length: queues }).keys()], tokens: [] }, chance(...drawn));
        const counts = Array.from({ length: queues }, () => 0);
        for (let made = 0; made < count; made += 1) {
          const queue = queueOf(make());
          counts[queue] = (counts[queue] ?? 0) + 1;
        }
        expect(Math.max(...counts) - Math.min(...counts)).toBeLessThan(2);
      }),
    );
  });
});
