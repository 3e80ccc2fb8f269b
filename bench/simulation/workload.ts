/** What tenants order: many small batches, some usual ones, a few very large ones. Repeats with its seed. */
import { type Dice, drawLogNormal } from "../edge/dice.ts";

export interface OrderedBatch {
  readonly id: string;
  readonly tenant: string;
  readonly upstream: string;
  readonly lines: number;
  /** After the start of the simulation. */
  readonly createdAfterMs: number;
}

export interface WorkloadOptions {
  readonly dice: Dice;
  readonly batches: number;
  readonly tenants: number;
  readonly upstreams: readonly string[];
  /** All batches are created within this. */
  readonly arrivalMs: number;
  readonly lines: { readonly median: number; readonly sigma: number; readonly most: number };
}

export function drawWorkload(options: WorkloadOptions): readonly OrderedBatch[] {
  const { dice, batches, tenants, upstreams, arrivalMs, lines } = options;
  return Array.from({ length: batches }, (_, index) => ({
    id: `batch_${index}`,
    tenant: `tenant-${Math.floor(dice() * tenants)}`,
    upstream: upstreams[index % upstreams.length] ?? "",
    lines: Math.round(drawLogNormal(dice, { ...lines, least: 1 })),
    createdAfterMs: Math.round(dice() * arrivalMs),
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
