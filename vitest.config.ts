/**
 * Three kinds of tests: `unit` in plain Node, `workers` inside workerd with real R2, D1, queues and Durable
 * Objects, and `e2e` against a real `wrangler dev` that each file starts for itself.
 */
import { cloudflareTest } from "@cloudflare/vitest-pool-workers";
import { defineConfig } from "vitest/config";

const SECOND_MS = 1000;

/** Replaces what wrangler.toml and .dev.vars say, so that tests do not depend on anybody's settings. */
const testBindings = {
  ADMIN_API_KEY: "sk-test",
  ENCRYPTION_KEY: "test-only-encryption-key-of-more-than-32-characters",
  PASS_THROUGH: "true",
  COMPLETION_WINDOWS: "24h,20s",
  DEFAULT_UPSTREAM: "echo",
  LINES_PER_INVOCATION: "64",
  CONSUMER_WAITS: "false",
  MAX_LINES_PER_BATCH: "50000",
  MOCK_API_KEY: "sk-mock-upstream",
  UPSTREAMS: {
    echo: { kind: "echo" },
    "echo-listed": { kind: "echo", models: ["listed-model"] },
    // Guests are let in unasked, but where a test is about that: test/http/guests.test.ts.
    mock: {
      kind: "http",
      base_url: "http://mock.test/v1",
      api_key_secret: "MOCK_API_KEY",
      timeout_seconds: 5,
      check_guest_keys: false,
    },
    "mock-open": { kind: "http", base_url: "http://mock-open.test/v1", timeout_seconds: 5, check_guest_keys: false },
  },
};

export default defineConfig({
  test: {
    // What the Worker logs is of interest where a test failed.
    silent: "passed-only",
    projects: [
      {
        test: {
          name: "unit",
          environment: "node",
          include: ["test/{domain,protocol}/**/*.test.ts", "test/*.test.ts"],
        },
      },
      {
        plugins: [
          cloudflareTest({
            wrangler: { configPath: "./wrangler.toml" },
            miniflare: { bindings: testBindings },
          }),
        ],
        test: {
          name: "workers",
          include: ["test/{stores,upstream,batch,queue,http,sdk,sweep,fuzz,faults,cost}/**/*.test.ts"],
          testTimeout: 20 * SECOND_MS,
          hookTimeout: 30 * SECOND_MS,
          provide: { faults: readFaultSettings(), fuzz: readFuzzSettings() },
        },
      },
      {
        test: {
          name: "e2e",
          environment: "node",
          include: ["test/e2e/**/*.test.ts"],
          fileParallelism: false,
          // By itself: it shares the machine with the stack that it starts.
          sequence: { groupOrder: 1 },
          testTimeout: 120 * SECOND_MS,
          hookTimeout: 90 * SECOND_MS,
        },
      },
    ],
  },
});

/** Which night is the first, and how many: test/faults/storage-faults.test.ts. */
function readFaultSettings() {
  const { FAULT_SEED: seed, FAULT_SCHEDULES: schedules = seed === undefined ? "200" : "1" } = process.env;
  return { firstSeed: Number(seed ?? 1), schedules: Number(schedules) };
}

/** How many inputs, and which: test/fuzz/fuzz.ts. */
function readFuzzSettings() {
  const { FUZZ_INPUTS: inputs = "3000", FUZZ_SEED: seed = "1" } = process.env;
  return { inputs: Number(inputs), seed: Number(seed) };
}
