/**
 * Three kinds of tests: `unit` in plain Node, `workers` inside workerd with real R2, D1, queues and Durable
 * Objects, and `e2e` against a real `wrangler dev` that each file starts for itself. `--mode long` plays more
 * random runs in the same tests.
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

export default defineConfig(({ mode }) => ({
  test: {
    // What the Worker logs is of interest where a test failed.
    silent: "passed-only",
    // Vitest leaves one core free; most of these tests wait for their runtime.
    maxWorkers: "100%",
    projects: [
      {
        test: {
          name: "unit",
          environment: "node",
          // These tests are pure and change nothing outside themselves: one process serves many files.
          isolate: false,
          include: ["test/{domain,protocol}/**/*.test.ts", "test/*.test.ts"],
        },
      },
      {
        plugins: [
          cloudflareTest({
            wrangler: { configPath: "./wrangler.toml" },
            miniflare: { bindings: testBindings },
            // Verbose, workerd prints a stack for each fault that a test injects. What is really wrong it prints in
            // any case, and a promise that nobody caught fails the run.
            verbose: process.env["WORKERD_VERBOSE"] === "true",
          }),
        ],
        test: {
          name: "workers",
          include: ["test/{stores,upstream,batch,queue,http,sdk,sweep,fuzz,faults,cost,upgrade}/**/*.test.ts"],
          testTimeout: 20 * SECOND_MS,
          hookTimeout: 30 * SECOND_MS,
          provide: { faults: readFaultSettings(mode), fuzz: readFuzzSettings(mode) },
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
          provide: { kills: readKills(mode) },
        },
      },
    ],
  },
}));

/**
 * Which fault run is the first, and how many are played (test/faults/random-faults.test.ts); how many outages are played with
 * many lines (test/faults/large-outages.test.ts).
 */
function readFaultSettings(mode: string) {
  const { FAULT_SEED: seed, FAULT_SCHEDULES: schedules, LARGE_OUTAGES: outages } = process.env;
  const largeOutages = Number(outages ?? (mode === "long" ? 3 : 1));
  if (seed !== undefined) return { firstSeed: Number(seed), schedules: Number(schedules ?? 1), largeOutages };
  return { firstSeed: 1, schedules: Number(schedules ?? (mode === "long" ? 200 : 40)), largeOutages };
}

/** How often the local runtime is killed: test/e2e/kill.test.ts. */
function readKills(mode: string): number {
  return Number(process.env["KILLS"] ?? (mode === "long" ? 2 : 1));
}

/** How many inputs, and which: test/fuzz/fuzz.ts. */
function readFuzzSettings(mode: string) {
  const { FUZZ_INPUTS: inputs = mode === "long" ? 3000 : 1000, FUZZ_SEED: seed = "1" } = process.env;
  return { inputs: Number(inputs), seed: Number(seed) };
}
