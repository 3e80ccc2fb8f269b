import { describe, expect, test } from "vitest";
import { estimateTokens, NO_TOKENS_SEEN, seeTokens } from "../../src/domain/token-estimate.ts";
import { Random } from "../support/random.ts";

describe("estimateTokens", () => {
  test.each([
    // answers, tokens, bytes of the line, mean bytes: estimate
    [0, 0, 400, 400, 200],
    [0, 0, 800, 400, 300],
    [0, 0, 0, 0, 1],
    [1, 700, 400, 400, 300],
    [996, 996 * 1000, 400, 400, 997],
    [996, 996 * 1000, 4400, 400, 1997],
    // Cheaper than its bytes: images, or much JSON.
    [996, 996 * 50, 4000, 4000, 58],
    [996, 996 * 50, 40, 4000, 1],
  ])("after %i answers of %i tokens, a line of %i bytes among %i: %i", (answers, tokens, lineBytes, mean, expected) => {
    expect(estimateTokens({ answers, tokens }, { lineBytes, meanLineBytes: mean })).toBe(expected);
  });

  test("is within 5 % of the mean after a hundred answers, and follows when lines become dearer", () => {
    for (let seed = 1; seed <= 20; seed += 1) {
      const random = new Random(seed);
      let seen = NO_TOKENS_SEEN;
      const sizes = { lineBytes: 300, meanLineBytes: 300 };
      for (let line = 0; line < 100; line += 1) {
        seen = seeTokens(seen, { answers: 1, tokens: random.between(180, 220) });
      }
      expect(estimateTokens(seen, sizes)).toBeGreaterThan(190);
      expect(estimateTokens(seen, sizes)).toBeLessThan(210);
      for (let line = 0; line < 20_000; line += 1) seen = seeTokens(seen, { answers: 1, tokens: 1000 });
      expect(estimateTokens(seen, sizes)).toBeGreaterThan(990);
    }
  });
});

test("what is seen may come in parts of any size", () => {
  const parts = [3, 400, 20].reduce(
    (seen, answers) => seeTokens(seen, { answers, tokens: answers * 7 }),
    NO_TOKENS_SEEN,
  );
  expect(parts).toEqual({ answers: 423, tokens: 2961 });
});
