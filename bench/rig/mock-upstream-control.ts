/** Starts the mock upstream in its own process, tells it what to do, and reads how full its slots were. */
import { fork } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import type { MockAnswer, MockOrder, MockSettings, MockStatistics } from "./mock-upstream-messages.ts";

export interface Upstream {
  /** Ends in `/v1`. */
  readonly baseUrl: string;
  /** Also forgets what was counted so far. */
  readonly configure: (settings: Partial<MockSettings>) => Promise<void>;
  readonly report: () => Promise<MockStatistics>;
  readonly stop: () => Promise<void>;
}

export async function startUpstream(): Promise<Upstream> {
  const child = fork(path.join(import.meta.dirname, "mock-upstream.ts"), { stdio: "inherit" });
  const [ready] = (await once(child, "message")) as [MockAnswer];
  if (ready.kind !== "ready") throw new Error("the mock upstream did not start");

  async function ask(order: MockOrder): Promise<MockAnswer> {
    const answered = once(child, "message") as Promise<[MockAnswer]>;
    child.send(order);
    const [answer] = await answered;
    return answer;
  }

  return {
    baseUrl: `http://127.0.0.1:${ready.port}/v1`,
    configure: async (settings) => {
      await ask({ kind: "configure", settings });
    },
    report: async () => {
      const answer = await ask({ kind: "report" });
      if (answer.kind !== "statistics") throw new Error(`the mock upstream answered '${answer.kind}'`);
      return answer.statistics;
    },
    stop: async () => {
      // A signal to the whole group has reached it too.
      if (child.exitCode !== null || child.signalCode !== null) return;
      const ended = once(child, "exit");
      if (child.connected) child.disconnect();
      await ended;
    },
  };
}

/** The mean of requests in flight over the time that the upstream was at work. */
export function meanInFlight({ msAtInFlight, ms }: MockStatistics): number {
  return msAtInFlight.reduce<number>((sum, atMs, inFlight) => sum + (atMs ?? 0) * inFlight, 0) / ms;
}

/** The part of that time, between 0 and 1, during which at least `inFlight` requests were in flight. */
export function shareAtLeast({ msAtInFlight, ms }: MockStatistics, inFlight: number): number {
  return msAtInFlight.reduce<number>((sum, atMs, at) => (at >= inFlight ? sum + (atMs ?? 0) : sum), 0) / ms;
}

export function mostInFlight({ msAtInFlight }: MockStatistics): number {
  return msAtInFlight.length - 1;
}
