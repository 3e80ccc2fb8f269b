import { describe, expect, test } from "vitest";
import { MemoryBudget } from "../../src/domain/memory-budget.ts";

const MIB = 1024 * 1024;
const BUDGET = 24 * MIB;

/** @returns the names of the answers that may be read, in the order in which they got their room. */
async function readable(work: (reserve: (name: string, bytes: number) => () => void) => void, memory: MemoryBudget) {
  const read: string[] = [];
  work((name, bytes) => {
    const room = memory.start(0);
    void room.reserve(bytes).then(() => read.push(name));
    return room.close;
  });
  await Promise.resolve();
  return read;
}

describe("a line may start", () => {
  test.each([
    ["with what fits", 10 * MIB, 4 * MIB, 10 * MIB, true],
    ["not with one byte more", 10 * MIB, 4 * MIB, 10 * MIB + 1, false],
    ["alone, however large it is", 0, 0, BUDGET + 1, true],
    ["alone, however much is to be stored", 0, BUDGET, 1, true],
    ["not beside another, when all is full of results", 1, BUDGET, 1, false],
  ] as const)("%s", (_, running, unstored, body, may) => {
    const memory = new MemoryBudget();
    if (running > 0) memory.start(running);
    memory.noteUnstored(unstored);
    expect(memory.hasRoomFor(body)).toBe(may);
  });

  test("again when a line has ended", () => {
    const memory = new MemoryBudget();
    const { close } = memory.start(BUDGET);
    expect(memory.hasRoomFor(1)).toBe(false);
    close();
    expect(memory.hasRoomFor(1)).toBe(true);
  });

  test("not while an answer waits to be read", () => {
    const memory = new MemoryBudget();
    const first = memory.start(1);
    void first.reserve(16 * MIB);
    const second = memory.start(1);
    void second.reserve(16 * MIB);
    expect(memory.hasRoomFor(1)).toBe(false);
    second.close();
    expect(memory.hasRoomFor(1)).toBe(true);
  });
});

describe("an answer is read", () => {
  test.each([
    ["together with what fits beside it", [8, 16], 0, ["0", "1"]],
    ["not with a byte more", [8, 16 + 1 / MIB], 0, ["0"]],
    ["in turn: a small one does not pass a large one", [12, 16, 1], 0, ["0"]],
    ["beside results that leave it room", [16], 8, ["0"]],
    ["not beside more results", [16], 8 + 1 / MIB, []],
  ] as const)("%s", async (_, sizes, unstored, expected) => {
    const memory = new MemoryBudget();
    memory.noteUnstored(unstored * MIB);
    const read = await readable((reserve) => {
      for (const [index, size] of sizes.entries()) reserve(String(index), size * MIB);
    }, memory);
    expect(read).toEqual(expected);
  });

  test("alone even beside request bodies that fill the budget", async () => {
    const memory = new MemoryBudget();
    memory.start(BUDGET);
    expect(
      await readable((reserve) => {
        reserve("first", 1);
        reserve("second", 1);
      }, memory),
    ).toEqual(["first"]);
  });

  test("when another one has settled and is stored, or its line is closed", async () => {
    const memory = new MemoryBudget();
    const read = await readable((reserve) => {
      const closeFirst = reserve("first", 16 * MIB);
      const closeSecond = reserve("second", 16 * MIB);
      reserve("third", 16 * MIB);
      memory.noteUnstored(16 * MIB);
      closeFirst();
      closeSecond();
      memory.noteUnstored(0);
    }, memory);
    expect(read).toEqual(["first", "third"]);
  });
});
