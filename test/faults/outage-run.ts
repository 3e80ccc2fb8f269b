/** A whole batch on a virtual clock, whose upstream serves nobody for a while: no line may be lost, and few may be sent. */
import { type BatchReply, Client } from "./client.ts";
import { FaultRun } from "./fault-run.ts";
import { checkOutcome } from "./run-checks.ts";
import { quietScenario, type ScriptedAnswer } from "./scenario.ts";

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const MAX_IN_FLIGHT = 64;
const FINE: ScriptedAnswer = { status: 200, delayMs: 300 };

export interface Outage {
  readonly status: ScriptedAnswer["status"];
  readonly lines: number;
  /** After the start. */
  readonly fromMs: number;
  readonly lastsMs: number;
}

export interface OutageEnd {
  /** Of the rules of run-checks.ts. */
  readonly broken: readonly string[];
  readonly counts: BatchReply["request_counts"] | undefined;
  /** Requests while the upstream was away, and how many there may be. */
  readonly asked: number;
  readonly mayBeAsked: number;
  /** Until all was over. */
  readonly lastedMs: number;
}

export async function playOutage({ status, lines, fromMs, lastsMs }: Outage): Promise<OutageEnd> {
  const isOut = (sinceMs: number) => sinceMs >= fromMs && sinceMs < fromMs + lastsMs;
  const run: FaultRun = new FaultRun({
    ...quietScenario(),
    lines,
    window: "24h",
    linesPerInvocation: 5,
    maxInFlight: MAX_IN_FLIGHT,
    answerOf: () => (isOut(Date.now() - run.startedAt) ? { status, delayMs: 100 } : FINE),
  });
  const client = new Client(run);
  await run.play(
    () => client.run(),
    () => run.startedAt + fromMs + lastsMs + 3 * HOUR_MS,
  );
  const broken = await checkOutcome(run, client);
  const asked = run.upstream.inFlight.filter(({ at }) => isOut(at - run.startedAt)).length;
  // A round, and two requests a minute; in the first minute the probes come after 1, 2, 4, 8, 16 and 32 s. Where it
  // begins in the middle, some consumers hear of it a round later than others.
  const rounds = fromMs > 0 ? 2 : 1;
  const round = Math.min(MAX_IN_FLIGHT, lines);
  const mayBeAsked = rounds * round + 6 + (2 * lastsMs) / MINUTE_MS;
  const counts = client.batch?.request_counts;
  return { broken, counts, asked, mayBeAsked, lastedMs: (run.injector.calls.at(-1)?.at ?? 0) - run.startedAt };
}
