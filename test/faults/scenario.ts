/** What happens in one fault run. Everything follows from the seed: what fails, when, and what clients do. */
import { Random } from "../support/random.ts";
import type { QueueFaults } from "./dispatch-queue.ts";
import type { Call, Fault, FaultPlan, Side } from "./injector.ts";

export interface Scenario {
  readonly seed: number;
  readonly lines: number;
  readonly window: "24h" | "3m";
  readonly linesPerInvocation: number;
  readonly maxInFlight: number;
  /** Budgets of the upstream, as its settings name them. */
  readonly budgets?: Readonly<Partial<Record<"requests_per_minute" | "tokens_per_minute", number>>>;
  /** Dispatch queues. */
  readonly queues: number;
  /** Milliseconds after the start; null: never. */
  readonly cancelAfterMs: number | null;
  readonly deleteInputAfterMs: number | null;
  /** Nothing fails any more. */
  readonly quietAfterMs: number;
  readonly faults: readonly FaultRule[];
  /** R2 takes and gives nothing; null: never. Its rules are among `faults`. */
  readonly r2Outage: R2Outage | null;
  readonly queueFaults: Omit<QueueFaults, "until">;
  /** Of each second, that the object is evicted or a consumer dies in it. */
  readonly evictions: number;
  readonly consumerDeaths: number;
  /** How many of a line's first calls fail upstream, and how. */
  readonly answerOf: (line: number, call: number) => ScriptedAnswer;
  /** What it answers everybody at this time; null: as usual. */
  readonly outageAt: (sinceMs: number) => ScriptedAnswer | null;
}

/** Calls of some sites fail: `count` of them in a row, or each with a probability for a time. */
export interface FaultRule {
  /** Beginning of `side site`. */
  readonly where: string;
  readonly fault: Fault;
  readonly when:
    | { readonly kind: "calls"; readonly from: number; readonly count: number }
    | { readonly kind: "period"; readonly fromMs: number; readonly untilMs: number; readonly probability: number };
}

export interface R2Outage {
  readonly sides: readonly Side[];
  /** Milliseconds after the start. */
  readonly fromMs: number;
  readonly untilMs: number;
}

export interface ScriptedAnswer {
  /** `hang`: nothing ever. `cut`: the connection breaks. `kill`: the consumer dies of it, with all that it has. */
  readonly status: number | "hang" | "cut" | "kill";
  readonly delayMs: number;
  readonly retryAfter?: string;
  /** Beside the usual ones. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Of its usage; 5 unless said. */
  readonly tokens?: number;
  /** In place of JSON: a page, or one that never ends, or breaks off. */
  readonly body?: "page" | "endless" | "broken";
}

const SITES = [
  "coordinator bucket.get",
  "coordinator bucket.body",
  "coordinator bucket.put",
  "coordinator bucket.list",
  "coordinator bucket.delete",
  "coordinator db.run",
  "coordinator db.first",
  "coordinator db.batch",
  "coordinator pacer.tell",
  "pacer coordinator.takeGrant",
  "pacer coordinator",
  "coordinator queue.sendBatch",
  "coordinator queue.metrics",
  "coordinator queue.sendBatch 2",
  "coordinator bucket",
  "coordinator db",
  "consumer bucket.get",
  "consumer bucket.body",
  "consumer bucket.put",
  "consumer bucket",
  "consumer coordinator.claim",
  "consumer coordinator.report",
  "consumer coordinator.claimNext",
  "consumer pacer.findWork",
  "consumer coordinator",
  "consumer",
  "http bucket",
  "http db",
  "http coordinator.start",
  "http coordinator.cancel",
  "http coordinator.snapshot",
  "sweep",
] as const;

const SECOND_MS = 1000;
const MAX_LINES = 40;
const MAX_KILL_DELAY_MS = 3 * SECOND_MS;

export function makeScenario(seed: number): Scenario {
  const random = Random.of(seed, 1);
  const isShort = random.chance(0.25);
  const scenario: Scenario = {
    seed,
    lines: random.between(1, random.chance(0.7) ? 6 : MAX_LINES),
    window: isShort ? "3m" : "24h",
    linesPerInvocation: random.pick([1, 3, 5, 64]),
    maxInFlight: random.pick([1, 5, 12, 64]),
    queues: Random.of(seed, 11).pick([1, 1, 2, 3]),
    cancelAfterMs: random.chance(0.25) ? random.between(0, 60) * SECOND_MS : null,
    deleteInputAfterMs: random.chance(0.2) ? random.between(0, 60) * SECOND_MS : null,
    quietAfterMs: 150 * SECOND_MS,
    faults: Array.from({ length: random.between(2, 6) }, () => makeRule(random)),
    r2Outage: null,
    queueFaults: {
      loss: random.pick([0, 0, 0.1, 0.5]),
      double: random.pick([0, 0, 0.3]),
      late: random.pick([0, 0, 0.3]),
      deadLetter: random.pick([0, 0, 0.2]),
    },
    evictions: random.pick([0, 0, 0.05, 0.2]),
    consumerDeaths: random.pick([0, 0, 0.05, 0.2]),
    answerOf: (line, call) => makeAnswer(seed, line, call),
    outageAt: makeOutage(seed),
  };
  return addR2Outage(addKillers(scenario));
}

/** Nothing fails but, at first, one line of three. */
export function quietScenario(): Scenario {
  return {
    seed: 0,
    lines: 3,
    window: "3m",
    linesPerInvocation: 2,
    maxInFlight: 64,
    queues: 2,
    cancelAfterMs: null,
    deleteInputAfterMs: 0,
    quietAfterMs: 0,
    faults: [],
    r2Outage: null,
    queueFaults: { loss: 0, double: 0, late: 0, deadLetter: 0 },
    evictions: 0,
    consumerDeaths: 0,
    answerOf: (line, call) => ({ status: line === 1 && call === 1 ? 500 : 200, delayMs: 300 }),
    outageAt: () => null,
  };
}

function makeRule(random: Random): FaultRule {
  const fromMs = random.between(0, 60) * SECOND_MS;
  return {
    where: random.pick(SITES),
    fault: random.pick<Fault>(["before", "before", "after", "after", "crash"]),
    when: random.pick<FaultRule["when"]>([
      { kind: "calls", from: random.between(1, 6), count: 1 },
      { kind: "calls", from: random.between(1, 4), count: 5 },
      { kind: "period", fromMs, untilMs: fromMs + 60 * SECOND_MS, probability: 1 },
      { kind: "period", fromMs: 0, untilMs: 120 * SECOND_MS, probability: 0.15 },
    ]),
  };
}

/** The rules of a scenario that starts at `startedAt`, applied call by call. */
export function planFaults({ seed, faults }: Pick<Scenario, "seed" | "faults">, startedAt: number): FaultPlan {
  const random = Random.of(seed, 2);
  return (call) => faults.find((rule) => applies(rule, call, { random, startedAt }))?.fault ?? null;
}

function applies(
  { where, fault, when }: FaultRule,
  call: Call,
  { random, startedAt }: { readonly random: Random; readonly startedAt: number },
): boolean {
  if (!`${call.side} ${call.site}`.startsWith(where)) return false;
  // A request of a client that dies is as good as one that fails.
  if (fault === "crash" && (call.side === "http" || call.side === "sweep")) return false;
  if (when.kind === "calls") return call.number >= when.from && call.number < when.from + when.count;
  const sinceMs = call.at - startedAt;
  return sinceMs >= when.fromMs && sinceMs < when.untilMs && random.chance(when.probability);
}

/** In one run of three the upstream serves nobody for a while, as gateways, changed keys and restarts have it. */
function makeOutage(seed: number): (sinceMs: number) => ScriptedAnswer | null {
  const random = Random.of(seed, 7);
  if (!random.chance(0.34)) return () => null;
  const status = random.pick<ScriptedAnswer["status"]>([502, 530, 500, 401, 404, "cut"]);
  const fromMs = random.between(0, 30) * SECOND_MS;
  const untilMs = fromMs + random.between(5, 110) * SECOND_MS;
  return (sinceMs) => (sinceMs >= fromMs && sinceMs < untilMs ? { status, delayMs: 50 } : null);
}

/**
 * In one run of four one or two lines kill their consumers, the first few times or each time. In half of those runs no
 * consumer dies of anything else, so that what becomes of the others is certain.
 */
function addKillers(scenario: Scenario): Scenario {
  const random = Random.of(scenario.seed, 8);
  if (!random.chance(0.25)) return scenario;
  const kills = new Map(
    Array.from({ length: random.between(1, 2) }, () => [
      random.between(0, scenario.lines - 1),
      random.pick([1, 2, 3, Infinity, Infinity]),
    ]),
  );
  const answerOf: Scenario["answerOf"] = (line, call) => {
    const answer = scenario.answerOf(line, call);
    // Before its time runs out.
    const delayMs = Math.min(answer.delayMs, MAX_KILL_DELAY_MS);
    return call <= (kills.get(line) ?? 0) ? { status: "kill", delayMs } : answer;
  };
  const isAlone = random.chance(0.5);
  return { ...scenario, answerOf, ...(isAlone ? { faults: [], evictions: 0, consumerDeaths: 0 } : {}) };
}

/**
 * In one run of five R2 refuses everything for some minutes: what consumers ask of it, or the coordinator too. In half of
 * those runs no other call fails.
 */
function addR2Outage(scenario: Scenario): Scenario {
  const random = Random.of(scenario.seed, 9);
  if (!random.chance(0.2)) return scenario;
  const sides = random.pick<readonly Side[]>([["consumer"], ["consumer", "coordinator"]]);
  const fromMs = random.between(0, 10) * SECOND_MS;
  const untilMs = fromMs + random.between(120, 240) * SECOND_MS;
  const quietAfterMs = Math.max(scenario.quietAfterMs, untilMs);
  const { faults, r2Outage } = refuseByR2({ sides, fromMs, untilMs });
  if (random.chance(0.5)) return { ...scenario, faults, r2Outage, quietAfterMs, evictions: 0 };
  return { ...scenario, faults: [...faults, ...scenario.faults], r2Outage, quietAfterMs };
}

/** What a scenario says of it. */
export function refuseByR2(r2Outage: R2Outage): Pick<Scenario, "faults" | "r2Outage"> {
  const { sides, fromMs, untilMs } = r2Outage;
  const faults = sides.map<FaultRule>((side) => ({
    where: `${side} bucket`,
    fault: "before",
    when: { kind: "period", fromMs, untilMs, probability: 1 },
  }));
  return { faults, r2Outage };
}

/** A call of this site falls into the time in which R2 refuses everything. */
export function isRefusedByR2({ r2Outage }: Pick<Scenario, "r2Outage">, call: Call, startedAt: number): boolean {
  if (r2Outage === null || !r2Outage.sides.includes(call.side) || !call.site.startsWith("bucket")) return false;
  const sinceMs = call.at - startedAt;
  return sinceMs >= r2Outage.fromMs && sinceMs < r2Outage.untilMs;
}

/** Most lines go well; some fail a few times first, a few for good. */
function makeAnswer(seed: number, line: number, call: number): ScriptedAnswer {
  const ofLine = Random.of(seed, 3, line);
  const ofCall = Random.of(seed, 4, line, call);
  const delayMs = ofCall.chance(0.05) ? ofCall.between(1, 15) * SECOND_MS : ofCall.between(20, 1500);
  if (ofLine.chance(0.08)) return { status: 400, delayMs };
  const troubles = ofLine.chance(0.25) ? ofLine.between(1, 3) : 0;
  if (call > troubles) return { status: 200, delayMs };
  const status = ofCall.pick<ScriptedAnswer["status"]>([429, 429, 500, 503, "hang", "cut"]);
  return status === 429 && ofCall.chance(0.5) ? { status, delayMs, retryAfter: "7" } : { status, delayMs };
}
