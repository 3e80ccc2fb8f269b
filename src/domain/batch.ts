/**
 * What a batch is: its record, its statuses and the moves between them. No I/O.
 *
 *   validating ──▶ in_progress ──▶ finalizing ──▶ completed
 *      │  │  │        │   │
 *      │  │  │        │   └──▶ cancelling ──▶ cancelled
 *      │  │  └────────┼───────────▲
 *      │  └───────────┴──▶ expired
 *      └──▶ failed
 *
 * `failed` means that the input was not acceptable; failed lines never make a batch `failed`. One move
 * stands outside the picture: `in_progress ──▶ failed` when the input's bytes are gone for good.
 */

export const BATCH_STATUSES = [
  "validating",
  "failed",
  "in_progress",
  "finalizing",
  "completed",
  "expired",
  "cancelling",
  "cancelled",
] as const;

export type BatchStatus = (typeof BATCH_STATUSES)[number];

const MOVES: Readonly<Record<BatchStatus, readonly BatchStatus[]>> = {
  validating: ["in_progress", "failed", "cancelling", "expired"],
  in_progress: ["finalizing", "cancelling", "expired", "failed"],
  finalizing: ["completed", "failed"],
  cancelling: ["cancelled"],
  completed: [],
  failed: [],
  expired: [],
  cancelled: [],
};

/** When a batch entered each status; null for those it has not seen. `created_at` stands for `validating`. */
export interface StatusTimes {
  readonly inProgressAt: Date | null;
  readonly finalizingAt: Date | null;
  readonly completedAt: Date | null;
  readonly failedAt: Date | null;
  readonly expiredAt: Date | null;
  readonly cancellingAt: Date | null;
  readonly cancelledAt: Date | null;
}

/** One reason why an input file was refused. `line` is 1-based; null when the whole file is meant. */
export interface LineProblem {
  readonly code: string;
  readonly message: string;
  readonly param: string | null;
  readonly line: number | null;
}

/** `completed` = answered with 2xx, `failed` = executed and failed. Lines never executed are in neither. */
export interface RequestCounts {
  readonly total: number;
  readonly completed: number;
  readonly failed: number;
}

export interface Usage {
  readonly inputTokens: number;
  readonly cachedTokens: number;
  readonly outputTokens: number;
  readonly reasoningTokens: number;
  readonly totalTokens: number;
}

export interface BatchRecord {
  readonly id: string;
  readonly tenant: string;
  readonly status: BatchStatus;
  readonly endpoint: string;
  readonly inputFileId: string;
  readonly completionWindow: string;
  readonly upstream: string;
  /** The one model that all lines name; null before validation and when they differ. */
  readonly model: string | null;
  readonly metadata: Readonly<Record<string, string>> | null;
  readonly errors: readonly LineProblem[] | null;
  /** Null while no successful line reported any. */
  readonly usage: Usage | null;
  readonly outputFileId: string | null;
  readonly errorFileId: string | null;
  readonly outputExpiresAfterSeconds: number | null;
  readonly counts: RequestCounts;
  readonly createdAt: Date;
  readonly expiresAt: Date;
  readonly times: StatusTimes;
}

export const NO_TIMES: StatusTimes = {
  inProgressAt: null,
  finalizingAt: null,
  completedAt: null,
  failedAt: null,
  expiredAt: null,
  cancellingAt: null,
  cancelledAt: null,
};

const TIME_OF_STATUS: Readonly<Record<Exclude<BatchStatus, "validating">, keyof StatusTimes>> = {
  in_progress: "inProgressAt",
  finalizing: "finalizingAt",
  completed: "completedAt",
  failed: "failedAt",
  expired: "expiredAt",
  cancelling: "cancellingAt",
  cancelled: "cancelledAt",
};

export function isFinal(status: BatchStatus): boolean {
  return MOVES[status].length === 0;
}

export function canMove(from: BatchStatus, to: BatchStatus): boolean {
  return MOVES[from].includes(to);
}

/**
 * The record after a move to `status`, stamped with `now`.
 * @throws Error when the picture above has no such arrow: a bug of the caller.
 */
export function move(batch: BatchRecord, status: Exclude<BatchStatus, "validating">, now: Date): BatchRecord {
  if (!canMove(batch.status, status)) {
    throw new Error(`batch ${batch.id} cannot go from ${batch.status} to ${status}`);
  }
  return { ...batch, status, times: { ...batch.times, [TIME_OF_STATUS[status]]: now } };
}
