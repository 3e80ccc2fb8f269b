/**
 * Consumer and coordinator may be of two versions of the Worker while a deploy is rolled out, or back. What the other one
 * leaves out gets its default here, at the door: docs/decisions/versions.md. Pure.
 */
import type { ClaimReply, Report, ReportReply } from "./conversation.ts";
import type { UpstreamStanding } from "./retry-policy.ts";

type Loose<Reply> = Reply extends { kind: "run" }
  ? Omit<Reply, "mayHaveMore" | "standing"> & {
      readonly mayHaveMore?: boolean;
      readonly standing?: UpstreamStanding;
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

/** As it comes from a consumer of any version. */
export type AnyReport = Partial<Report> & Pick<Report, "token">;

/** A consumer that says nothing of a thing has none of it. */
const NOTHING_SAID: Omit<Report, "token"> = {
  chunk: null,
  usage: null,
  givenBack: [],
  answers: 0,
  pressured: 0,
  wantedLines: 0,
  phase: "working",
  inputMissing: false,
};

export function fillReport(report: AnyReport): Report {
  return { ...NOTHING_SAID, ...report };
}

/** Coordinators once left `mayHaveMore` out: whoever wanted lines and got none was to get no more. */
export function fillReportReply(reply: AnyReportReply, wantedLines: number): ReportReply {
  if (reply.kind !== "run") return reply;
  const mayHaveMore = reply.mayHaveMore ?? (wantedLines === 0 || reply.slices.length > 0);
  return { ...reply, mayHaveMore, standing: reply.standing ?? UNKNOWN_STANDING };
}

/** A claim that is answered with `run` always brings slices, and leaves open whether more follow. */
export function fillClaimReply(reply: AnyClaimReply): ClaimReply {
  if (reply.kind !== "run") return reply;
  return { ...reply, mayHaveMore: reply.mayHaveMore ?? true, standing: reply.standing ?? UNKNOWN_STANDING };
}
