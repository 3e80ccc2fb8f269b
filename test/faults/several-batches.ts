/** Several whole batches beside each other on one upstream, on a virtual clock, and what the upstream saw of them. */
import { Client, type ClientPlan } from "./client.ts";
import { FaultRun } from "./fault-run.ts";
import { checkOutcome } from "./run-checks.ts";
import { quietScenario, type Scenario } from "./scenario.ts";

const MINUTE_MS = 60_000;

export interface Arrival {
  /** In ms, after the start of the run. */
  readonly at: number;
  readonly batchId: string;
  /** Lines in flight from then on, this one among them. */
  readonly lines: number;
}

export interface SeveralEnd {
  readonly run: FaultRun;
  readonly clients: readonly Client[];
  /** Of the rules of run-checks.ts. */
  readonly broken: readonly string[];
  readonly arrivals: readonly Arrival[];
}

export interface Several {
  readonly scenario: Partial<Scenario>;
  readonly plans: readonly Partial<ClientPlan>[];
  /** All is over within this time. */
  readonly limitMs: number;
  /** Arranges what happens besides. */
  readonly prepare?: (run: FaultRun) => void;
}

export async function playSeveral({ scenario, plans, limitMs, prepare }: Several): Promise<SeveralEnd> {
  const run = new FaultRun({
    ...quietScenario(),
    window: "24h",
    linesPerInvocation: 5,
    deleteInputAfterMs: null,
    answerOf: () => ({ status: 200, delayMs: 300 }),
    ...scenario,
  });
  const clients = plans.map((plan) => new Client(run, "mock", plan));
  prepare?.(run);
  await run.play(
    async () => {
      await Promise.all(clients.map((client) => client.run()));
    },
    () => run.startedAt + limitMs,
  );
  const broken = await checkOutcome(run, ...clients);
  const arrivals = run.upstream.inFlight.map(({ at, lines, batchId }) => ({ at: at - run.startedAt, lines, batchId }));
  return { run, clients, broken, arrivals };
}

/** Of any minute that begins with an arrival: how many there are, or what they cost. */
export function mostInAMinute(arrivals: readonly Arrival[], costOf: (arrival: Arrival) => number = () => 1): number {
  let most = 0;
  let sum = 0;
  let first = 0;
  for (const arrival of arrivals) {
    sum += costOf(arrival);
    for (; (arrivals[first]?.at ?? Infinity) <= arrival.at - MINUTE_MS; first += 1) {
      const gone = arrivals[first];
      if (gone !== undefined) sum -= costOf(gone);
    }
    most = Math.max(most, sum);
  }
  return most;
}

/** A minute's mean between two times, in ms after the start. */
export function perMinute(arrivals: readonly Arrival[], fromMs: number, untilMs: number): number {
  const counted = arrivals.filter(({ at }) => at >= fromMs && at < untilMs).length;
  return (counted * MINUTE_MS) / (untilMs - fromMs);
}

export function completedLines(clients: readonly Client[]): number {
  return clients.reduce((sum, { batch }) => sum + (batch?.request_counts.completed ?? 0), 0);
}

/** Objects leave memory at this time, with all that is not stored. */
export function evictAt(run: FaultRun, ms: number): void {
  run.clock.schedule(run.startedAt + ms, () => void run.busy("an eviction", () => run.evict()));
}
