import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { ChunkLine } from "../../src/domain/chunk.ts";
import type { GivenBackLine } from "../../src/domain/conversation.ts";
import type { Slice } from "../../src/domain/slices.ts";
import { MAX_HANDED_BYTES } from "../../src/domain/limits.ts";
import { Ledger } from "../../src/domain/ledger.ts";
import type { SliceState } from "../../src/domain/line-state.ts";

/** A ledger of slices with the given numbers of lines, none of them tried. */
function makeStates(lineCounts: readonly number[]): SliceState[] {
  const states: SliceState[] = [];
  let firstLine = 0;
  for (const [index, lineCount] of lineCounts.entries()) {
    const slice: Slice = { index, firstLine, lineCount, byteStart: firstLine * 10, byteLength: lineCount * 10 };
    states.push({ slice, progress: "fresh", token: null });
    firstLine += lineCount;
  }
  return states;
}

function completed(...lines: number[]): ChunkLine[] {
  return lines.map((line) => ({ line, bytes: 1, result: "completed" }));
}

function back(line: number, attempts: number, dueAt: number | null = null): GivenBackLine {
  return { line, attempts, dueAt: dueAt === null ? null : new Date(dueAt) };
}

function linesOf(ledger: Ledger, claim: { token: string; wanted: number; now: number }): number[] {
  return ledger.handOut(claim.token, claim.wanted, claim.now).flatMap(({ lines }) => lines.map(({ line }) => line));
}

describe("claim", () => {
  test.each([
    [0, []],
    [1, [0, 1]],
    [2, [0, 1]],
    [3, [0, 1, 2, 3]],
    [99, [0, 1, 2, 3, 4]],
  ])("%i lines wanted of slices of two hands out whole slices", (wanted, lines) => {
    const ledger = new Ledger(makeStates([2, 2, 1]));
    expect(linesOf(ledger, { token: "a", wanted, now: 0 })).toEqual(lines);
    expect(ledger.openLines).toBe(lines.length);
  });

  test.each([
    ["just fits", MAX_HANDED_BYTES / 2, [0, 1]],
    ["is a byte too much", MAX_HANDED_BYTES / 2 + 1, [0]],
    ["is too much alone, and has to go all the same", MAX_HANDED_BYTES + 1, [0]],
  ])("hands out no more bytes than a consumer may hold: what %s", (_, byteLength, lines) => {
    const states = makeStates([1, 1, 1]).map(({ slice, ...state }) => ({ ...state, slice: { ...slice, byteLength } }));
    expect(linesOf(new Ledger(states), { token: "a", wanted: 9, now: 0 })).toEqual(lines);
  });

  test("hands nothing out twice", () => {
    const ledger = new Ledger(makeStates([2, 2]));
    expect(linesOf(ledger, { token: "a", wanted: 1, now: 0 })).toEqual([0, 1]);
    expect(linesOf(ledger, { token: "b", wanted: 9, now: 0 })).toEqual([2, 3]);
    expect(linesOf(ledger, { token: "c", wanted: 9, now: 0 })).toEqual([]);
  });

  test("prefers what was given back, and says how often it was tried", () => {
    const ledger = new Ledger(makeStates([2, 2]));
    ledger.handOut("a", 1, 0);
    ledger.settle("a", completed(0));
    ledger.giveBack("a", [back(1, 3)]);
    expect(ledger.handOut("b", 1, 0)).toEqual([
      { index: 0, firstLine: 0, lineCount: 2, byteStart: 0, byteLength: 20, lines: [{ line: 1, attempts: 3 }] },
    ]);
  });

  test("leaves lines alone that are not due yet", () => {
    const ledger = new Ledger(makeStates([3]));
    ledger.handOut("a", 1, 0);
    ledger.giveBack("a", [back(0, 1, 500), back(1, 1, 900), back(2, 1)]);
    expect(ledger.claimableLines(0)).toBe(1);
    expect(ledger.nextDueAt(0)).toBe(500);
    expect(ledger.nextDueAt(500)).toBe(900);
    expect(ledger.nextDueAt(900)).toBeNull();
    expect(linesOf(ledger, { token: "b", wanted: 9, now: 500 })).toEqual([0, 2]);
  });
});

describe("settle", () => {
  test("takes a line once, from the token that has it, and no line it does not know", () => {
    const ledger = new Ledger(makeStates([2, 1]));
    ledger.handOut("a", 1, 0);
    expect(ledger.settle("b", completed(0))).toEqual([false]);
    expect(ledger.settle("a", completed(0, 0, 2, 7, -1))).toEqual([true, false, false, false, false]);
    expect(ledger.settle("a", completed(0))).toEqual([false]);
    expect(ledger.unsettledLines).toBe(2);
  });

  test("after a release changes nothing, even when another token has the line", () => {
    const ledger = new Ledger(makeStates([1]));
    ledger.handOut("a", 1, 0);
    ledger.release("a");
    expect(ledger.settle("a", completed(0))).toEqual([false]);
    ledger.handOut("b", 1, 0);
    expect(ledger.settle("a", completed(0))).toEqual([false]);
    expect(ledger.settle("b", completed(0))).toEqual([true]);
    expect(ledger.unsettledLines).toBe(0);
  });
});

describe("settleMissing", () => {
  test("of a part of a slice leaves the rest to be claimed", () => {
    const ledger = new Ledger(makeStates([3]));
    ledger.settleMissing([1]);
    expect(ledger.claimableLines(0)).toBe(2);
    expect(linesOf(ledger, { token: "a", wanted: 9, now: 0 })).toEqual([0, 2]);
  });

  test("of every line leaves nothing", () => {
    const ledger = new Ledger(makeStates([2, 1]));
    ledger.settleMissing(ledger.unsettledSlices().flatMap(({ lines }) => lines.map(({ line }) => line)));
    expect([ledger.unsettledLines, ledger.claimableLines(0), ledger.unsettledSlices().length]).toEqual([0, 0, 0]);
  });
});

describe("takeChanged", () => {
  test("names each changed slice once, and none twice", () => {
    const ledger = new Ledger(makeStates([1, 1, 1]));
    ledger.handOut("a", 2, 0);
    ledger.settle("a", completed(0));
    expect(ledger.takeChanged()).toMatchObject([
      { slice: { index: 0 }, progress: "settled", token: null },
      { slice: { index: 1 }, progress: "fresh", token: "a" },
    ]);
    expect(ledger.takeChanged()).toEqual([]);
  });
});

const TOKENS = ["a", "b", "c"] as const;
type Token = (typeof TOKENS)[number];

type Command =
  | { readonly kind: "claim"; readonly token: Token; readonly wanted: number }
  | { readonly kind: "settle"; readonly token: Token; readonly lines: readonly number[] }
  | { readonly kind: "give_back"; readonly token: Token; readonly lines: readonly number[]; readonly delay: number }
  | { readonly kind: "release"; readonly token: Token }
  | { readonly kind: "settle_unexecuted"; readonly lines: readonly number[] }
  | { readonly kind: "wait"; readonly delay: number }
  | { readonly kind: "reload" };

const token = fc.constantFrom(...TOKENS);
const lines = fc.array(fc.nat(30), { maxLength: 8 });
const delay = fc.constantFrom(0, 5, 10, 1000);
const command: fc.Arbitrary<Command> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ kind: fc.constant("claim"), token, wanted: fc.nat(8) }) },
  { weight: 5, arbitrary: fc.record({ kind: fc.constant("settle"), token, lines }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("give_back"), token, lines, delay }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("release"), token }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("settle_unexecuted"), lines }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("wait"), delay }) },
  { weight: 2, arbitrary: fc.constant({ kind: "reload" } as const) },
);

interface ModelLine {
  readonly slice: number;
  settled: boolean;
  holder: Token | null;
  attempts: number;
  dueAt: number;
}

/** A ledger beside the plainest account of the same lines. */
class Comparison {
  /** Where the two disagreed. */
  readonly breaches: string[] = [];
  readonly #states: SliceState[];
  readonly #model: ModelLine[];
  #ledger: Ledger;
  #now = 0;

  constructor(lineCounts: readonly number[]) {
    this.#states = makeStates(lineCounts);
    this.#ledger = new Ledger(this.#states);
    this.#model = lineCounts.flatMap((lineCount, slice) =>
      Array.from({ length: lineCount }, () => ({ slice, settled: false, holder: null, attempts: 0, dueAt: 0 })),
    );
  }

  run(step: Command): void {
    switch (step.kind) {
      case "claim":
        this.#claim(step.token, step.wanted);
        break;
      case "settle":
        this.#settle(step.token, step.lines);
        break;
      case "give_back":
        this.#giveBack(step);
        break;
      case "release":
        this.#ledger.release(step.token);
        for (const line of this.#model) if (line.holder === step.token) line.holder = null;
        break;
      case "settle_unexecuted":
        this.#settleMissing(step.lines);
        break;
      case "wait":
        this.#now += step.delay;
        break;
      case "reload":
        this.#reload();
    }
    this.#compare();
  }

  /** Whatever went before: everything is taken back, claimed by one, settled, and nothing is left. */
  finish(): void {
    for (const name of TOKENS) this.run({ kind: "release", token: name });
    this.run({ kind: "wait", delay: 1_000_000 });
    this.run({ kind: "claim", token: "a", wanted: this.#model.length });
    this.run({ kind: "settle", token: "a", lines: [...this.#model.keys()] });
    this.#agree("lines left", this.#ledger.unsettledLines, 0);
  }

  #compare(): void {
    const pending = this.#model.filter(({ settled }) => !settled);
    const free = pending.filter(({ slice }) => this.#holderOf(slice) === null);
    const waiting = free.map(({ dueAt }) => dueAt).filter((dueAt) => dueAt > this.#now);
    const ledger = this.#ledger;
    this.#agree("total", ledger.totalLines, this.#model.length);
    this.#agree("unsettled", ledger.unsettledLines, pending.length);
    this.#agree("open", ledger.openLines, pending.filter(({ holder }) => holder !== null).length);
    for (const name of TOKENS) {
      this.#agree(
        `open of ${name}`,
        ledger.openLinesByToken().get(name) ?? 0,
        pending.filter(({ holder }) => holder === name).length,
      );
    }
    this.#agree("claimable", ledger.claimableLines(this.#now), free.length - waiting.length);
    this.#agree("next due", ledger.nextDueAt(this.#now), waiting.length === 0 ? null : Math.min(...waiting));
    this.#agree(
      "unsettled lines",
      ledger.unsettledSlices().flatMap((slice) => slice.lines.map(({ line }) => line)),
      [...this.#model.keys()].filter((line) => this.#model[line]?.settled === false),
    );
  }

  #claim(name: Token, wanted: number): void {
    let handedOut = 0;
    for (const { index, lines: claimed } of this.#ledger.handOut(name, wanted, this.#now)) {
      this.#agree("claims no more than wanted", handedOut < wanted, true);
      this.#agree(`slice ${index} is with`, this.#holderOf(index), null);
      for (const { line, attempts } of claimed) {
        const known = this.#at(line);
        this.#agree(`line ${line}`, [index, attempts], [known.slice, known.attempts]);
        this.#agree(`line ${line} may run`, !known.settled && known.dueAt <= this.#now, true);
      }
      for (const { line } of claimed) this.#at(line).holder = name;
      handedOut += claimed.length;
    }
    if (handedOut < wanted) this.#agree("left over", this.#ledger.claimableLines(this.#now), 0);
  }

  #settle(name: Token, numbers: readonly number[]): void {
    const expected = numbers.map((number) => {
      const line = this.#model[number];
      if (line?.holder !== name) return false;
      Object.assign(line, { holder: null, settled: true });
      return true;
    });
    this.#agree("accepted", this.#ledger.settle(name, completed(...numbers)), expected);
  }

  #giveBack({ token: name, lines: numbers, delay: wait }: Extract<Command, { kind: "give_back" }>): void {
    const dueAt = this.#now + wait;
    this.#ledger.giveBack(
      name,
      numbers.map((line) => back(line, line + 1, dueAt)),
    );
    for (const number of numbers) {
      const line = this.#model[number];
      if (line?.holder === name) Object.assign(line, { holder: null, attempts: number + 1, dueAt });
    }
  }

  #settleMissing(numbers: readonly number[]): void {
    const free = numbers.filter((number) => {
      const line = this.#model[number];
      return line !== undefined && this.#holderOf(line.slice) === null;
    });
    this.#ledger.settleMissing(free);
    for (const number of free) this.#at(number).settled = true;
  }

  /** Lines of a slice that somebody has count as handed out, whether or not they were given back meanwhile. */
  #reload(): void {
    for (const state of this.#ledger.takeChanged()) this.#states[state.slice.index] = state;
    this.#ledger = new Ledger(structuredClone(this.#states));
    const holders = this.#states.map(({ slice }) => this.#holderOf(slice.index));
    for (const line of this.#model) if (!line.settled) line.holder = holders[line.slice] ?? null;
  }

  #agree(what: string, actual: unknown, expected: unknown): void {
    const [left, right] = [JSON.stringify(actual), JSON.stringify(expected)];
    if (left !== right) this.breaches.push(`${what}: ${left} instead of ${right}`);
  }

  #holderOf(slice: number): Token | null {
    return this.#model.find((line) => line.slice === slice && line.holder !== null)?.holder ?? null;
  }

  #at(number: number): ModelLine {
    const line = this.#model[number];
    if (line === undefined) throw new RangeError(`there is no line ${number}`);
    return line;
  }
}

test("agrees with a plain account of its lines, whatever is done to it, and always comes to an end", () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 1, max: 6 }), { minLength: 1, maxLength: 6 }),
      fc.array(command, { maxLength: 60 }),
      (lineCounts, commands) => {
        const comparison = new Comparison(lineCounts);
        for (const step of commands) comparison.run(step);
        comparison.finish();
        expect(comparison.breaches).toEqual([]);
      },
    ),
    { numRuns: 500 },
  );
});

test("lines whose results are lost are unsettled again, until they settle once more", () => {
  const ledger = new Ledger(makeStates([2, 2]));
  ledger.handOut("a", 4, 0);
  ledger.settle("a", completed(0, 1, 2, 3));
  ledger.reopen([1, 2]);
  expect([ledger.unsettledLines, ledger.openLines]).toEqual([2, 0]);
  expect(ledger.unsettledSlices().flatMap((slice) => slice.lines.map(({ line }) => line))).toEqual([1, 2]);
  expect(new Ledger(ledger.takeChanged()).unsettledLines).toBe(2);
  ledger.settleMissing([1, 2]);
  expect([ledger.unsettledLines, ledger.unsettledSlices()]).toEqual([0, []]);
});
