/**
 * The batches that tenants create: many small ones, some of usual size, a few very large ones. The same seed gives the
 * same batches.
 */
import { type Random, drawLogNormal } from "../random.ts";

export interface OrderedBatch {
  readonly id: string;
  readonly tenant: string;
  readonly upstream: string;
  readonly lines: number;
  /** After the start of the simulation. */
  readonly createdAfterMs: number;
}

export interface WorkloadOptions {
  readonly random: Random;
  readonly batches: number;
  readonly tenants: number;
  readonly upstreams: readonly string[];
  /** All batches are created within this. */
  readonly arrivalMs: number;
  readonly lines: { readonly median: number; readonly sigma: number; readonly most: number };
}

export function drawWorkload(options: WorkloadOptions): readonly OrderedBatch[] {
  const { random, batches, tenants, upstreams, arrivalMs, lines } = options;
  return Array.from({ length: batches }, (_, index) => ({
    id: `batch_${index}`,
    tenant: `tenant-${Math.floor(random() * tenants)}`,
    upstream: upstreams[index % upstreams.length] ?? "",
    lines: Math.round(drawLogNormal(random, { ...lines, least: 1 })),
    createdAfterMs: Math.round(random() * arrivalMs),
  })).toSorted((a, b) => a.createdAfterMs - b.createdAfterMs);
}

export function writeInput(lines: number): Uint8Array {
  const text = Array.from(
    { length: lines },
    (_, line) =>
      `{"custom_id":"${line}","method":"POST","url":"/v1/chat/completions","body":{"model":"m","messages":[{"role":"user","content":"?"}]}}\n`,
  );
  return new TextEncoder().encode(text.join(""));
}
