/**
 * Two batches that share an upstream and their consumers, while messages come late or are lost, consumers die, and the calls
 * by which work is shared fail: both end as if nothing had happened.
 */
import { afterEach, describe, expect, test } from "vitest";
import { Client } from "./client.ts";
import { FaultRun } from "./fault-run.ts";
import { checkOutcome, clearStores } from "./run-checks.ts";
import { type FaultRule, quietScenario, type Scenario } from "./scenario.ts";

const SECOND_MS = 1000;
const MINUTE_MS = 60 * SECOND_MS;
const HEALED_WITHIN_MS = 30 * MINUTE_MS;
const QUIET_AFTER_MS = 2 * MINUTE_MS;
const TEST_TIMEOUT_MS = 5 * MINUTE_MS;
const LINES = 24;
const NO_FAULTS = { loss: 0, double: 0, late: 0, deadLetter: 0 };

afterEach(clearStores);

async function playTwo(change: Partial<Scenario>) {
  const run = new FaultRun({
    ...quietScenario(),
    lines: LINES,
    window: "24h",
    linesPerInvocation: 5,
    maxInFlight: 8,
    queues: 1,
    deleteInputAfterMs: null,
    quietAfterMs: QUIET_AFTER_MS,
    answerOf: (line) => ({ status: 200, delayMs: line % 6 === 0 ? 4 * SECOND_MS : SECOND_MS }),
    ...change,
  });
  const clients = [new Client(run), new Client(run)];
  await run.play(
    async () => {
      await Promise.all(clients.map((client) => client.run()));
    },
    () => run.startedAt + HEALED_WITHIN_MS,
  );
  for (const client of clients) {
    expect(await checkOutcome(run, client)).toEqual([]);
    expect(client.batch?.request_counts).toEqual({ total: LINES, completed: LINES, failed: 0 });
  }
  return run.injector.calls.filter(({ side }) => side === "consumer").map(({ site }) => site);
}

function failing(where: string, fault: FaultRule["fault"]): FaultRule {
  return { where, fault, when: { kind: "period", fromMs: 0, untilMs: QUIET_AFTER_MS, probability: 0.5 } };
}

describe("two batches end well, and share consumers, when", () => {
  test.each<[string, Partial<Scenario>]>([
    ["messages come late", { queueFaults: { ...NO_FAULTS, late: 1 } }],
    ["messages are lost", { queueFaults: { ...NO_FAULTS, loss: 0.5 }, seed: 3 }],
    ["consumers die", { queueFaults: { ...NO_FAULTS, late: 0.7 }, consumerDeaths: 0.1, seed: 4 }],
    ["objects are evicted", { queueFaults: { ...NO_FAULTS, late: 0.7 }, evictions: 0.1, seed: 5 }],
    [
      "claims lose their answers",
      { queueFaults: { ...NO_FAULTS, late: 1 }, faults: [failing("consumer coordinator.claimNext", "after")] },
    ],
    [
      "consumers die of claims",
      { queueFaults: { ...NO_FAULTS, late: 1 }, faults: [failing("consumer coordinator.claimNext", "crash")] },
    ],
  ])(
    "%s",
    async (_, change) => {
      const sites = await playTwo(change);
      expect(sites).toContain("pacer.findWork");
      expect(sites).toContain("coordinator.claimNext");
    },
    TEST_TIMEOUT_MS,
  );
});

test(
  "two batches end well when the pacer does not say who has work",
  async () => {
    const faults = [failing("consumer pacer.findWork", "before")];
    expect(await playTwo({ queueFaults: { ...NO_FAULTS, late: 1 }, faults })).toContain("pacer.findWork");
  },
  TEST_TIMEOUT_MS,
);
