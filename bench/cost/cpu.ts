/**
 * Processor time a line, measured in Node, whose JavaScript engine is the Worker's: validation, consumer,
 * coordinator and finalizing of a whole batch. The time of the simulated platform is included and cannot be separated.
 * What the real platform does outside of JavaScript is not included.
 */
import { writeAnswer, writeEmbedding } from "../edge/answers.ts";
import { installWorkerModules } from "../edge/worker-modules.ts";

export interface CpuUse {
  readonly answerBytes: number;
  readonly msPerLine: number;
}

const LINES = 5000;
/** An answer of this size or more is written as an embedding. */
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
        maxInFlight: 64,
        drawLatencyMs: () => 2000,
        answer,
        capacity: null,
        capacityPerSecond: null,
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
