/** What holds whatever happens: batches, their pacer and all that is said between them are those of pacing-model.ts. */
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { AnswersHeard } from "../../src/domain/breaker.ts";
import { type Coordinator, PacingModel } from "./pacing-model.ts";

const indexes = fc.nat(99);

const steps = {
  join: fc.record({ kind: fc.constant("join" as const), lines: fc.oneof(fc.nat(30), fc.nat(1000)) }),
  leave: fc.record({
    kind: fc.constant("leave" as const),
    at: indexes,
    how: fc.constantFrom("silently" as const, "saying so" as const),
  }),
  demand: fc.record({ kind: fc.constant("demand" as const), at: indexes, lines: fc.oneof(fc.nat(30), fc.nat(1000)) }),
  use: fc.record({ kind: fc.constant("use" as const), at: indexes, fraction: fc.constantFrom(0, 0.3, 0.7, 1) }),
  say: fc.record({ kind: fc.constant("say" as const), at: indexes }),
  deliver: fc.record({ kind: fc.constant("deliver" as const), at: indexes }),
  lose: fc.record({ kind: fc.constant("lose" as const), at: indexes }),
  wait: fc.record({ kind: fc.constant("wait" as const), ms: fc.constantFrom(10, 1000, 15_000) }),
  restartPacer: fc.record({ kind: fc.constant("restart pacer" as const) }),
  restartCoordinator: fc.record({ kind: fc.constant("restart coordinator" as const), at: indexes }),
  fine: fc.record({ kind: fc.constant("answers" as const), at: indexes, heard: heardOf("fine") }),
  busy: fc.record({ kind: fc.constant("answers" as const), at: indexes, heard: heardOf("fine and busy") }),
  trouble: fc.record({ kind: fc.constant("answers" as const), at: indexes, heard: heardOf("busy", "away", "refused") }),
};

type Step = {
  [Kind in keyof typeof steps]: (typeof steps)[Kind] extends fc.Arbitrary<infer Value> ? Value : never;
}[keyof typeof steps];

type Heard = "fine" | "busy" | "away" | "refused" | "fine and busy";

function heardOf(...kinds: readonly Heard[]): fc.Arbitrary<Partial<AnswersHeard>> {
  return fc.tuple(fc.constantFrom(...kinds), fc.integer({ min: 1, max: 40 })).map(([kind, count]) => {
    if (kind === "fine and busy") return { fine: 1, succeeded: 1, busy: count };
    return kind === "fine" ? { fine: count, succeeded: count } : { [kind]: count };
  });
}

function play(model: PacingModel, step: Step): void {
  const coordinator = "at" in step ? model.pick(step.at) : undefined;
  if (step.kind === "join") model.say(model.join(step.lines));
  else if (step.kind === "deliver") model.deliver(step.at);
  else if (step.kind === "lose") model.lose(step.at);
  else if (step.kind === "wait") model.wait(step.ms);
  else if (step.kind === "restart pacer") model.restartPacer();
  else if (coordinator !== undefined) playOf(model, coordinator, step);
}

/** What one batch does. */
function playOf(model: PacingModel, coordinator: Coordinator, step: Step): void {
  if (step.kind === "leave") model.leave(coordinator, step.how);
  else if (step.kind === "demand") coordinator.runnableLines = step.lines;
  else if (step.kind === "use") model.use(coordinator, step.fraction);
  else if (step.kind === "say") model.say(coordinator);
  else if (step.kind === "restart coordinator") model.restartCoordinator(coordinator);
  else if (step.kind === "answers") model.hearAnswers(coordinator, step.heard);
}

const upstreams = fc.record({
  maxInFlight: fc.integer({ min: 1, max: 200 }),
  linesPerInvocation: fc.integer({ min: 1, max: 64 }),
});

function runOf(...names: readonly (keyof typeof steps)[]): fc.Arbitrary<readonly Step[]> {
  const usual = [steps.say, steps.deliver, steps.deliver, steps.use, steps.demand] as const;
  return fc.array(fc.oneof(...usual, steps.join, ...names.map((name) => steps[name])) as fc.Arbitrary<Step>, {
    maxLength: 120,
    size: "max",
  });
}

const RUNS = 300;

describe("together batches never have more than max_in_flight", () => {
  test.each([
    ["when nothing is lost", []],
    ["when batches come and go", ["leave"]],
    ["when messages are lost", ["leave", "lose", "lose"]],
    ["when the limit grows and shrinks", ["leave", "lose", "fine", "busy", "wait"]],
    ["when coordinators restart", ["leave", "lose", "fine", "restartCoordinator", "wait"]],
    ["when their pacer restarts", ["restartPacer"]],
    ["when both restart", ["leave", "lose", "fine", "restartPacer", "restartCoordinator", "wait"]],
  ] as const)("%s", (_, names) => {
    fc.assert(
      fc.property(upstreams, runOf(...names), (upstream, run) => {
        const model = new PacingModel(upstream);
        for (const step of run) {
          play(model, step);
          expect(model.exposedLines).toBeLessThanOrEqual(upstream.maxInFlight);
        }
      }),
      { numRuns: RUNS },
    );
  });

  test("but for those that probe, when there are pauses", () => {
    fc.assert(
      fc.property(upstreams, runOf("leave", "lose", "fine", "trouble", "trouble", "wait"), (upstream, run) => {
        const model = new PacingModel(upstream);
        for (const step of run) {
          play(model, step);
          expect(model.exposedLines).toBeLessThanOrEqual(upstream.maxInFlight + model.probes);
        }
      }),
      { numRuns: RUNS },
    );
  });
});

describe("when all has calmed down", () => {
  test.each([
    ["after batches came and went", ["leave"]],
    ["after messages were lost", ["leave", "lose", "lose"]],
    ["after the limit grew and shrank", ["leave", "lose", "fine", "busy", "wait"]],
    ["after restarts", ["leave", "lose", "restartPacer", "restartCoordinator", "wait"]],
    ["after pauses", ["leave", "lose", "fine", "trouble", "trouble", "wait"]],
  ] as const)("each has its share of the limit: %s", (_, names) => {
    fc.assert(
      fc.property(upstreams, runOf(...names), (upstream, run) => {
        const model = new PacingModel(upstream);
        for (const step of run) play(model, step);
        model.calmDown(5);
        expect(model.beliefs).toEqual(model.shares);
      }),
      { numRuns: RUNS },
    );
  });
});

describe("turns", () => {
  test("when there is no room for all, the oldest has something, and whoever is left comes on when others end", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 20 }),
        fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 30 }),
        (maxInFlight, lines) => {
          const model = new PacingModel({ maxInFlight, linesPerInvocation: 5 });
          const coordinators: Coordinator[] = lines.map((runnable) => model.join(runnable));
          for (let round = 0; model.coordinators.size > 0; round += 1) {
            expect(round).toBeLessThan(2000);
            model.calmDown(2);
            const [oldest] = model.coordinators.keys();
            expect(model.beliefs.get(oldest ?? "")).toBeGreaterThan(0);
            for (const one of coordinators) {
              one.runnableLines = Math.max(0, one.runnableLines - one.heldLines);
              if (one.runnableLines === 0) model.leave(one, "saying so");
            }
          }
        },
      ),
      { numRuns: 100 },
    );
  });
});
