/**
 * Processor time a line, measured in Node, whose JavaScript engine is the Worker's: validation, consumer,
 * coordinator and finalizing of a whole batch. The simulated platform is in it too, and cannot be told apart; what
 * the real platform does outside of JavaScript is not.
 */
import { writeAnswer, writeEmbedding } from "../edge/answers.ts";
import { installWorkerModules } from "../edge/worker-modules.ts";

export interface CpuUse {
  readonly answerBytes: number;
  readonly msPerLine: number;
}

const LINES = 5000;
/** From here on an answer is taken for an embedding. */
const EMBEDDING_BYTES = 30_000;

export async function measureCpu(answerBytes: number): Promise<CpuUse> {
  installWorkerModules();
  const { simulate } = await import("../simulation/simulate.ts");
  const answer = answerBytes >= EMBEDDING_BYTES ? writeEmbedding(answerBytes) : writeAnswer(answerBytes);
  const scenario = {
    seed: 1,
    workload: { batches: 1, tenants: 1, arrivalMs: 1, lines: { median: LINES, sigma: 0, most: LINES } },
    upstreams: [
      {
        name: "mock",
        setting: 64,
        drawLatencyMs: () => 2000,
        answer,
        maxInFlight: null,
        maxPerSecond: null,
        retryAfterSeconds: null,
      },
    ],
    scaling: "at_once",
  } as const;
  // The first run compiles.
  await simulate(scenario);
  const before = process.cpuUsage();
  await simulate(scenario);
  const { user, system } = process.cpuUsage(before);
  return { answerBytes, msPerLine: (user + system) / 1000 / LINES };
}
