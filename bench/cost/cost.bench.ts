/** The runs of `npm run bench:cost`, inside workerd. bench/cost/run.ts starts them and reads what they print. */
import { env } from "cloudflare:workers";
import { runInDurableObject } from "cloudflare:test";
import { expect, test } from "vitest";
import { type BatchSpec, measureBatch } from "./measure-batch.ts";
import { COST_SPECS } from "./specs.ts";

test.each([...COST_SPECS])("$lines lines, $answerBytes bytes, $meanLatencySeconds s", async (spec: BatchSpec) => {
  const stub = env.COORDINATORS.getByName(`cost-${JSON.stringify(spec)}`);
  const use = await runInDurableObject(stub, (_, state) => measureBatch({ state, database: env.DB }, spec));
  expect(use.dispatches).toBeGreaterThan(0);
  console.log(`COST ${JSON.stringify(use)}`);
});
