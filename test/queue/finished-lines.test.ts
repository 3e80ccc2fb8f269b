import { describe, expect, test } from "vitest";
import type { ClaimedSlice } from "../../src/domain/slices.ts";
import { noAnswer } from "../../src/domain/outcome.ts";
import { FinishedLines } from "../../src/queue/finished-lines.ts";

const NOON = new Date("2026-10-01T12:00:00Z");

function after(seconds: number): Date {
  return new Date(NOON.getTime() + seconds * 1000);
}

/** `count` slices of `lineCount` lines each, one behind the other. */
function makeSlices(count: number, lineCount: number): readonly ClaimedSlice[] {
  return Array.from({ length: count }, (_, index) => ({
    index,
    firstLine: index * lineCount,
    lineCount,
    byteStart: 0,
    byteLength: 0,
    lines: Array.from({ length: lineCount }, (__, offset) => ({ line: index * lineCount + offset, attempts: 0 })),
  }));
}

/** Of slices of `lineCount` lines, the first `finished` lines are finished, all at noon. */
function finish(count: number, lineCount: number, finished: number): FinishedLines {
  const lines = new FinishedLines();
  const slices = makeSlices(count, lineCount);
  lines.expect(slices);
  for (let line = 0; line < finished; line += 1) {
    const ready = { line, sliceIndex: Math.floor(line / lineCount), attempts: 0, customId: String(line), body: "{}" };
    lines.add(ready, noAnswer("request_timeout"), NOON);
  }
  return lines;
}

describe("what is worth storing", () => {
  test.each([
    ["nothing, when nothing is finished", finish(1, 50, 0), 3600, "nothing"],
    ["a hundred lines of whole slices", finish(3, 50, 100), 0, "whole_slices"],
    ["not fewer", finish(3, 50, 99), 0, "nothing"],
    ["not lines of slices that go on", finish(2, 200, 150), 0, "nothing"],
    ["eight whole slices, however small", finish(9, 1, 8), 0, "whole_slices"],
    ["not fewer", finish(9, 1, 7), 0, "nothing"],
    ["everything that has waited half a minute", finish(1, 50, 1), 30, "everything"],
    ["not what has waited less", finish(1, 50, 1), 29.999, "nothing"],
  ] as const)("%s", (_, lines, seconds, scope) => {
    expect(lines.scopeAt(after(seconds))).toBe(scope);
  });

  test("is due half a minute after the oldest line that was not stored", () => {
    const lines = finish(2, 2, 3);
    expect(lines.dueAt).toEqual(after(30));
    expect(lines.makeChunk("whole_slices", "a")?.lines).toHaveLength(2);
    expect(lines.dueAt).toEqual(after(30));
    expect(lines.makeChunk("everything", "b")?.lines).toHaveLength(1);
    expect(lines.dueAt).toBeNull();
  });

  test("nothing is no chunk", () => {
    expect(finish(1, 1, 1).makeChunk("nothing", "a")).toBeNull();
  });
});

describe("a chunk of large lines", () => {
  const MIB = 1024 * 1024;

  /** Finished lines of one slice, each with such an answer. */
  function finishLarge(count: number, text: string): FinishedLines {
    const lines = new FinishedLines();
    lines.expect(makeSlices(1, count));
    for (let line = 0; line < count; line += 1) {
      const ready = { line, sliceIndex: 0, attempts: 0, customId: String(line), body: "{}" };
      const answer = { kind: "answered", statusCode: 200, requestId: "r", body: `"${text}"`, failure: null } as const;
      lines.add(ready, { ...answer, usage: null, retryAfterSeconds: null, rateLimit: null }, NOON);
    }
    return lines;
  }

  test.each(["x", "é", "😀"])("holds an answer as it came: %s", (character) => {
    const text = character.repeat(MIB);
    const chunk = finishLarge(1, text).makeChunk("everything", "a");
    expect(chunk?.lines[0]?.bytes).toBe(chunk?.bytes.length);
    const line = JSON.parse(new TextDecoder().decode(chunk?.bytes)) as { readonly response: { readonly body: string } };
    // Compared here: a difference of a million characters would be printed.
    expect(line.response.body === text).toBe(true);
  });

  test("takes no further line once it has 4 MiB; the next chunk takes the rest", () => {
    const lines = finishLarge(6, "x".repeat(MIB));
    expect(lines.makeChunk("everything", "a")?.lines.map(({ line }) => line)).toEqual([0, 1, 2, 3]);
    expect(lines.makeChunk("everything", "b")?.lines.map(({ line }) => line)).toEqual([4, 5]);
    expect([lines.isEmpty, lines.openSlices]).toEqual([true, []]);
  });
});
