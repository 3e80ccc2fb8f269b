/**
 * What Cloudflare charges on the Workers Paid plan beyond what is included, as listed on the pages named here.
 * Dollars. Storage that is kept (R2 0.015 a GB-month, D1 and objects 0.20 to 0.75) is left out: it depends on how
 * long files are kept, not on how they were made.
 */

/** When the pages were last compared with this file. */
export const PRICES_SEEN = "2026-10";

const MILLION = 1_000_000;

export interface Price {
  readonly dollars: number;
  readonly page: string;
}

export type PricedUnit =
  | "workerRequests"
  | "cpuMs"
  | "queueOperations"
  | "objectRequests"
  | "objectGigabyteSeconds"
  | "objectRowsRead"
  | "objectRowsWritten"
  | "databaseRowsRead"
  | "databaseRowsWritten"
  | "bucketClassA"
  | "bucketClassB"
  | "logLines";

const DOCS = "developers.cloudflare.com";

export const PRICES: Readonly<Record<PricedUnit, Price>> = {
  workerRequests: { dollars: 0.3 / MILLION, page: `${DOCS}/workers/platform/pricing` },
  cpuMs: { dollars: 0.02 / MILLION, page: `${DOCS}/workers/platform/pricing` },
  /** A write, a read or a delete of up to 64 KB. */
  queueOperations: { dollars: 0.4 / MILLION, page: `${DOCS}/queues/platform/pricing` },
  /** An RPC call or an alarm. */
  objectRequests: { dollars: 0.15 / MILLION, page: `${DOCS}/durable-objects/platform/pricing` },
  objectGigabyteSeconds: { dollars: 12.5 / MILLION, page: `${DOCS}/durable-objects/platform/pricing` },
  objectRowsRead: { dollars: 0.001 / MILLION, page: `${DOCS}/durable-objects/platform/pricing` },
  /** Setting an alarm is one, too. */
  objectRowsWritten: { dollars: 1 / MILLION, page: `${DOCS}/durable-objects/platform/pricing` },
  databaseRowsRead: { dollars: 0.001 / MILLION, page: `${DOCS}/d1/platform/pricing` },
  databaseRowsWritten: { dollars: 1 / MILLION, page: `${DOCS}/d1/platform/pricing` },
  bucketClassA: { dollars: 4.5 / MILLION, page: `${DOCS}/r2/pricing` },
  bucketClassB: { dollars: 0.36 / MILLION, page: `${DOCS}/r2/pricing` },
  logLines: { dollars: 0.6 / MILLION, page: `${DOCS}/workers/observability/logs/workers-logs` },
};

/** An object is billed as if it used this much, whatever it does. */
export const OBJECT_GIGABYTES = 0.128;
