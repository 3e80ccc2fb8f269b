import { describe, expect, test } from "vitest";
import type { Report } from "../../src/domain/conversation.ts";
import { answerOk, answerStatus, deliverLast, failReports, standInForUpstream } from "../support/delivery.ts";
import { HeldBatch, holdClockAndQueue } from "../support/held-batch.ts";

holdClockAndQueue(["Date", "setTimeout", "clearTimeout"]);

function sumOf(reports: readonly Report[]) {
  const spent = reports.map((report) => report.spent);
  const sum = (of: "tries" | "answersWithUsage" | "tokens") => spent.reduce((total, one) => total + one[of], 0);
  return { tries: sum("tries"), answersWithUsage: sum("answersWithUsage"), tokens: sum("tokens") };
}

describe("reports say what was spent", () => {
  test("every try, and the tokens of answers that say their usage", async () => {
    const sent = standInForUpstream(({ line, tries }) => {
      if (line === 0) return answerStatus(400);
      if (line === 1) return Response.json({ object: "chat.completion" });
      return line === 2 && tries === 1 ? answerStatus(500) : answerOk();
    });
    const batch = await HeldBatch.launch({ lines: 12, upstream: "mock" });
    const { made } = failReports("lost", 0);
    await deliverLast(batch);
    expect(sent.length).toBe(13);
    expect(sumOf(made)).toEqual({ tries: 13, answersWithUsage: 10, tokens: 50 });
  });

  test("what a lost report said is said again, and what was heard is not", async () => {
    standInForUpstream(answerOk);
    const batch = await HeldBatch.launch({ lines: 30, upstream: "mock" });
    const { made } = failReports("lost", 1);
    await deliverLast(batch);
    const [lost, ...heard] = made;
    expect(lost?.spent.tries).toBeGreaterThan(0);
    expect(sumOf(heard)).toEqual({ tries: 30, answersWithUsage: 30, tokens: 150 });
  });

  test("what the upstream said of its limits, of the request that was sent last", async () => {
    standInForUpstream(({ line }) => {
      const headers = { "x-ratelimit-remaining-requests": String(100 - line), "x-ratelimit-reset-requests": "20ms" };
      return new Response("{}", { headers });
    });
    const batch = await HeldBatch.launch({ lines: 12, upstream: "mock" });
    const { made } = failReports("lost", 0);
    await deliverLast(batch);
    const said = made.map(({ spent }) => spent.rateLimit).filter((rateLimit) => rateLimit !== null);
    expect(said.at(-1)).toMatchObject({ requests: { limit: null, remaining: 89, resetSeconds: 0.02 }, tokens: null });
    expect(said.at(-1)?.answeredAt.getTime()).toBeGreaterThanOrEqual(said.at(-1)?.sentAt.getTime() ?? Infinity);
  });

  test("nothing for lines that are sent nowhere", async () => {
    const batch = await HeldBatch.launch({ lines: 2, upstream: "mock" });
    const { made } = failReports("lost", 0);
    await deliverLast(batch, { settings: { UPSTREAMS: '{"echo":{"kind":"echo"}}' } });
    expect(made.length).toBeGreaterThan(0);
    expect(sumOf(made)).toEqual({ tries: 0, answersWithUsage: 0, tokens: 0 });
  });
});
