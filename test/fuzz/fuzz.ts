/**
 * Runs a property over many inputs: `FUZZ_INPUTS` of them over all properties together (1,000 unless told; 3,000 in
 * `npm run test:long`), from the seed `FUZZ_SEED` (1 unless told). A failure prints its seed, its path and the
 * smallest input that fails.
 */
import fc from "fast-check";
import { inject } from "vitest";

declare module "vitest" {
  interface ProvidedContext {
    fuzz: { readonly inputs: number; readonly seed: number };
  }
}

const settings = inject("fuzz");

/** On a busy machine; most take a tenth of it. */
const PATIENCE_PER_INPUT_MS = 200;
const HANGS_AFTER_MS = 20_000;

export interface Plan {
  /** Of all inputs, in percent. */
  readonly percent: number;
}

function inputsOf({ percent }: Plan): number {
  return Math.max(1, Math.round((settings.inputs * percent) / 100));
}

/** For the test that runs it. */
export function timeoutOf(plan: Plan): number {
  return 60_000 + inputsOf(plan) * PATIENCE_PER_INPUT_MS;
}

export async function fuzz<Input>(
  plan: Plan,
  inputs: fc.Arbitrary<Input>,
  check: (input: Input) => Promise<void>,
): Promise<void> {
  const property = fc.asyncProperty(inputs, (input) => withoutHanging(check(input)));
  await fc.assert(property, { numRuns: inputsOf(plan), seed: settings.seed });
}

async function withoutHanging(checking: Promise<void>): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const hung = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error("hangs")), HANGS_AFTER_MS);
  });
  await Promise.race([checking, hung]).finally(() => clearTimeout(timer));
}
