/** One complete batch record, so that a test names only what matters to it. Plain Node and workerd both load this. */
import { type BatchRecord, NO_TIMES } from "../../src/domain/batch.ts";

const DAY_MS = 86_400_000;

/** Just created, with an id of its own; it expires a day after its creation. */
export function aBatch(changes: Partial<BatchRecord> = {}): BatchRecord {
  const { createdAt = new Date("2026-11-22T03:00:00Z") } = changes;
  return {
    id: `batch_${crypto.randomUUID()}`,
    tenant: "org-a",
    status: "validating",
    endpoint: "/v1/chat/completions",
    inputFileId: "file-1",
    completionWindow: "24h",
    upstream: "echo",
    model: null,
    metadata: null,
    errors: null,
    usage: null,
    outputFileId: null,
    errorFileId: null,
    outputExpiresAfterSeconds: null,
    counts: { total: 0, completed: 0, failed: 0 },
    createdAt,
    expiresAt: new Date(createdAt.getTime() + DAY_MS),
    times: NO_TIMES,
    ...changes,
  };
}
