import { expect, test } from "vitest";
import { fillClaimReply, fillReport, fillReportReply } from "../../src/domain/other-version.ts";

const SLICE = { index: 0, firstLine: 0, lineCount: 1, byteStart: 0, byteLength: 9, lines: [{ line: 0, attempts: 0 }] };

test.each([
  [0, [], true],
  [5, [SLICE], true],
  [5, [], false],
])("an answer without mayHaveMore, after %i lines were wanted", (wantedLines, slices, mayHaveMore) => {
  const reply = { kind: "run", slots: 5, slices } as const;
  expect(fillReportReply(reply, wantedLines)).toMatchObject({ ...reply, mayHaveMore, standing: { servedAt: null } });
});

test("what an answer says of mayHaveMore and the upstream stands", () => {
  const standing = { servedAt: 7, hasServed: true, isProbe: false, isStumbleFinal: false };
  const reply = { kind: "run", slots: 5, slices: [SLICE], mayHaveMore: false, standing } as const;
  expect(fillReportReply(reply, 5)).toEqual(reply);
  expect(fillReportReply({ kind: "stop" }, 5)).toEqual({ kind: "stop" });
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
    phase: "working",
    inputMissing: false,
  });
});
