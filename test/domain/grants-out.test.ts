import { describe, expect, test } from "vitest";
import type { Statement } from "../../src/domain/grant.ts";
import { GrantsOut } from "../../src/domain/grants-out.ts";

const LIFE = "life";

function make(): GrantsOut {
  return new GrantsOut({ life: LIFE, number: 10 });
}

function said(number: number, lines: number, heldLines: number): Pick<Statement, "grant" | "heldLines"> {
  return { grant: { life: LIFE, number, lines }, heldLines };
}

describe("a batch that comes", () => {
  test("has nothing", () => {
    expect(make()).toMatchObject({ lines: 0, number: 10, reservedLines: 0, isHeard: true });
  });

  test("has what it says is in flight", () => {
    const out = make();
    out.hear({ grant: null, heldLines: 7 });
    expect(out).toMatchObject({ lines: 0, reservedLines: 7 });
  });

  test.each([
    ["what it goes by", 20, 7, 20],
    ["what is in flight, where that is more", 20, 30, 30],
  ])("and goes by a grant of its pacer's earlier life has %s", (_, lines, heldLines, reservedLines) => {
    const out = make();
    out.hear({ grant: { life: "earlier", number: 99, lines }, heldLines });
    expect(out.reservedLines).toBe(reservedLines);
  });
});

describe("a grant", () => {
  test("is reserved from when it is made, heard or not", () => {
    const out = make();
    out.grant(20, 11);
    expect(out).toMatchObject({ lines: 20, number: 11, reservedLines: 20, isHeard: false });
  });

  test("that is smaller leaves what was granted before reserved, until the batch goes by it", () => {
    const out = make();
    out.grant(20, 11);
    out.grant(5, 12);
    out.hear(said(11, 20, 3));
    expect(out).toMatchObject({ lines: 5, reservedLines: 20, isHeard: false });
    out.hear(said(12, 5, 3));
    expect(out).toMatchObject({ lines: 5, reservedLines: 5, isHeard: true });
  });

  test("that is smaller leaves reserved what is in flight still, and then that is free as it ends", () => {
    const out = make();
    out.grant(20, 11);
    out.grant(5, 12);
    const reserved = [18, 9, 5, 2].map((heldLines) => {
      out.hear(said(12, 5, heldLines));
      return out.reservedLines;
    });
    expect(reserved).toEqual([18, 9, 5, 5]);
  });

  test("whose answer was lost is reserved though a later one is smaller, and free when that is heard", () => {
    const out = make();
    for (const [index, lines] of [20, 5, 8].entries()) out.grant(lines, 11 + index);
    out.hear({ grant: null, heldLines: 0 });
    expect(out.reservedLines).toBe(20);
    out.hear(said(12, 5, 0));
    expect(out.reservedLines).toBe(8);
    out.hear(said(13, 8, 0));
    expect(out).toMatchObject({ reservedLines: 8, isHeard: true });
  });

  test("of as many lines as before is none", () => {
    const out = make();
    out.grant(20, 11);
    out.grant(20, 12);
    expect(out).toMatchObject({ number: 11, lines: 20 });
  });

  test("is not forgotten when the batch says that it goes by a later one than there is", () => {
    const out = make();
    out.grant(20, 11);
    out.hear(said(99, 3, 3));
    expect([out.number, out.lines, out.reservedLines]).toEqual([11, 20, 20]);
  });
});
