/**
 * Consumer and coordinator may be of two versions of the Worker while a deploy is rolled out, or back. What the other one
 * leaves out gets its default here, at the door: docs/decisions/versions.md. Pure.
 */
import { type AnswersHeard, NOTHING_HEARD } from "./breaker.ts";
import type { ClaimReply, NextClaim, Report, ReportReply } from "./conversation.ts";
import type { UpstreamStanding } from "./retry-policy.ts";
import { NOTHING_SPENT, type Spending } from "./spending.ts";

type Loose<Reply> = Reply extends { kind: "run" }
  ? Omit<Reply, "mayHaveMore" | "standing" | "isRoomWanted" | "starts"> & {
      readonly mayHaveMore?: boolean;
      readonly standing?: UpstreamStanding;
      readonly isRoomWanted?: boolean;
      readonly starts?: number | null;
    }
  : Reply;

/** A coordinator that says nothing of the upstream knows nothing of it: no line settles because others were served. */
const UNKNOWN_STANDING: UpstreamStanding = {
  servedAt: null,
  hasServed: false,
  isProbe: false,
  isTail: false,
  isStumbleFinal: false,
};

/** As it comes from a coordinator of any version. */
export type AnyReportReply = Loose<ReportReply>;
export type AnyClaimReply = Loose<ClaimReply>;
export type AnyNextClaim = Loose<NonNullable<NextClaim>> | null;

/** As it comes from a consumer of any version. */
export type AnyReport = Partial<Omit<Report, "spent">> & Pick<Report, "token"> & { readonly spent?: Partial<Spending> };

/** A consumer that says nothing of a thing has none of it. */
const NOTHING_SAID: Omit<Report, "token" | "heard" | "spent"> = {
  chunk: null,
  usage: null,
  givenBack: [],
  answers: 0,
  pressured: 0,
  wantedLines: 0,
  wantedStarts: 0,
  phase: "working",
  inputMissing: false,
};

export function fillReport(report: AnyReport): Report {
  const filled = { ...NOTHING_SAID, ...report };
  // A consumer that does not count its tries has made one for each answer at least.
  const spent = { ...NOTHING_SPENT, tries: filled.answers, ...report.spent };
  return { ...filled, heard: report.heard ?? guessHeard(filled), spent };
}

/** A consumer that does not tell classes apart says how many answers were pressure: those count as busy. */
function guessHeard({ answers, pressured }: Pick<Report, "answers" | "pressured">): AnswersHeard {
  const fine = answers - pressured;
  return { ...NOTHING_HEARD, fine, succeeded: fine, busy: pressured };
}

/** Coordinators once left `mayHaveMore` out: whoever wanted lines and got none was to get no more. */
export function fillReportReply(reply: AnyReportReply, wantedLines: number): ReportReply {
  if (reply.kind !== "run") return reply;
  const mayHaveMore = reply.mayHaveMore ?? (wantedLines === 0 || reply.slices.length > 0);
  const { standing = UNKNOWN_STANDING, isRoomWanted = false, starts = null } = reply;
  return { ...reply, mayHaveMore, standing, isRoomWanted, starts };
}

export function fillNextClaim(next: AnyNextClaim): NextClaim {
  if (next === null) return null;
  const { mayHaveMore = true, standing = UNKNOWN_STANDING, isRoomWanted = false, starts = null } = next;
  return { ...next, mayHaveMore, standing, isRoomWanted, starts };
}

/** A claim that is answered with `run` always brings slices, and leaves open whether more follow. */
export function fillClaimReply(reply: AnyClaimReply): ClaimReply {
  if (reply.kind !== "run") return reply;
  const { mayHaveMore = true, standing = UNKNOWN_STANDING, isRoomWanted = false, starts = null } = reply;
  return { ...reply, mayHaveMore, standing, isRoomWanted, starts };
}
