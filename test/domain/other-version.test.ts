import { expect, test } from "vitest";
import { NOTHING_HEARD } from "../../src/domain/breaker.ts";
import { fillClaimReply, fillNextClaim, fillReport, fillReportReply } from "../../src/domain/other-version.ts";

const SLICE = { index: 0, firstLine: 0, lineCount: 1, byteStart: 0, byteLength: 9, lines: [{ line: 0, attempts: 0 }] };

test.each([
  [0, [], true],
  [5, [SLICE], true],
  [5, [], false],
])("an answer without mayHaveMore, after %i lines were wanted", (wantedLines, slices, mayHaveMore) => {
  const reply = { kind: "run", slots: 5, slices } as const;
  expect(fillReportReply(reply, wantedLines)).toMatchObject({
    ...reply,
    mayHaveMore,
    standing: { servedAt: null },
    isRoomWanted: false,
    starts: null,
  });
});

test("what an answer says of mayHaveMore and the upstream stands", () => {
  const standing = { servedAt: 7, hasServed: true, isProbe: false, isStumbleFinal: false };
  const reply = {
    kind: "run",
    slots: 5,
    slices: [SLICE],
    mayHaveMore: false,
    standing,
    isRoomWanted: true,
    starts: 3,
  } as const;
  expect(fillReportReply(reply, 5)).toEqual(reply);
  expect(fillReportReply({ kind: "stop" }, 5)).toEqual({ kind: "stop" });
});

test("a further claim without mayHaveMore leaves it open", () => {
  const batch = {
    batchId: "b",
    endpoint: "/v1/embeddings",
    upstream: "u",
    inputFileId: "f",
    expiresAt: new Date(0),
    sealedKey: null,
  };
  const next = { kind: "run", token: "t", slots: 5, slices: [SLICE], batch } as const;
  expect(fillNextClaim(next)).toMatchObject({ token: "t", mayHaveMore: true, isRoomWanted: false });
  expect(fillNextClaim(null)).toBeNull();
});

test("a claim without mayHaveMore leaves it open", () => {
  const batch = {
    batchId: "b",
    endpoint: "/v1/embeddings",
    upstream: "u",
    inputFileId: "f",
    expiresAt: new Date(0),
    sealedKey: null,
  };
  expect(fillClaimReply({ kind: "run", slots: 5, slices: [SLICE], batch })).toMatchObject({ mayHaveMore: true });
  expect(fillClaimReply({ kind: "unknown" })).toEqual({ kind: "unknown" });
});

test("a report that says nothing but its token renews the lease", () => {
  expect(fillReport({ token: "t" })).toEqual({
    token: "t",
    chunk: null,
    usage: null,
    givenBack: [],
    answers: 0,
    pressured: 0,
    wantedLines: 0,
    wantedStarts: 0,
    phase: "working",
    inputMissing: false,
    heard: NOTHING_HEARD,
    spent: { tries: 0, answersWithUsage: 0, tokens: 0, rateLimit: null },
  });
});

test("a report that does not tell classes apart has busy answers, and successful ones", () => {
  const { heard } = fillReport({ token: "t", answers: 7, pressured: 3 });
  expect(heard).toEqual({ ...NOTHING_HEARD, fine: 4, succeeded: 4, busy: 3 });
});

test("what a report has heard stands", () => {
  const heard = { ...NOTHING_HEARD, refused: 2 };
  expect(fillReport({ token: "t", answers: 7, pressured: 3, heard }).heard).toEqual(heard);
});

test("a report that does not say what was spent has tried as often as it was answered", () => {
  const nothing = { answersWithUsage: 0, tokens: 0, rateLimit: null };
  expect(fillReport({ token: "t", answers: 7 }).spent).toEqual({ ...nothing, tries: 7 });
  expect(fillReport({ token: "t", answers: 7, spent: { tries: 9 } }).spent).toEqual({ ...nothing, tries: 9 });
});
