/** Simpler designs, as counts a line: what they would cost at the same prices. Estimates, not measured. */
import { emptyTally, type Tally } from "./tally.ts";

export interface Design {
  readonly name: string;
  /** For one line. */
  readonly tally: Tally;
}

const CPU_MS_PER_LINE = 3;
const OPERATIONS_PER_MESSAGE = 3;
/** The most messages that a consumer can be given at once. */
const MESSAGES_PER_INVOCATION = 100;
/** Claims, input reads, logs and results of a whole invocation, where they are not per line. */
const PER_INVOCATION = 1 / MESSAGES_PER_INVOCATION;

export const SIMPLER_DESIGNS: readonly Design[] = [
  {
    name: "message, object call and R2 put per line",
    tally: {
      ...emptyTally(),
      cpuMs: CPU_MS_PER_LINE,
      queueOperations: OPERATIONS_PER_MESSAGE,
      workerRequests: 1,
      objectRequests: 2,
      objectRowsWritten: 1,
      bucketClassA: 1,
      bucketClassB: 2,
      logLines: 1,
    },
  },
  {
    name: "message per line, results as rows in the object",
    tally: {
      ...emptyTally(),
      cpuMs: CPU_MS_PER_LINE,
      queueOperations: OPERATIONS_PER_MESSAGE,
      workerRequests: PER_INVOCATION,
      objectRequests: PER_INVOCATION,
      objectRowsWritten: 1,
      bucketClassB: PER_INVOCATION,
      logLines: PER_INVOCATION,
    },
  },
  {
    name: "message per line, results as R2 chunks",
    tally: {
      ...emptyTally(),
      cpuMs: CPU_MS_PER_LINE,
      queueOperations: OPERATIONS_PER_MESSAGE,
      workerRequests: PER_INVOCATION,
      objectRequests: PER_INVOCATION,
      objectRowsWritten: PER_INVOCATION,
      bucketClassA: PER_INVOCATION,
      bucketClassB: 2 * PER_INVOCATION,
      logLines: PER_INVOCATION,
    },
  },
];
