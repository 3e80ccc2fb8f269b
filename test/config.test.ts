import { readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { parseSettings, SettingsError, settingsOf } from "../src/config.ts";

const OPENAI = { kind: "http", base_url: "https://api.openai.com/v1", api_key_secret: "OPENAI_API_KEY" };

/** What the settings look at of a queue's binding. */
function aQueue(name: string) {
  return { name, sendBatch: () => Promise.resolve() };
}

const GOOD: Readonly<Record<string, unknown>> = {
  ADMIN_API_KEY: "sk-admin",
  OPENAI_API_KEY: "sk-openai",
  DEFAULT_UPSTREAM: "echo",
  DISPATCHES: aQueue("first"),
  UPSTREAMS: { echo: { kind: "echo" }, openai: OPENAI },
};

function parse(change: Readonly<Record<string, unknown>> = {}) {
  return parseSettings(new Map(Object.entries({ ...GOOD, ...change })));
}

function upstream(change: Readonly<Record<string, unknown>>) {
  return { UPSTREAMS: { echo: { kind: "echo" }, openai: { ...OPENAI, ...change } } };
}

/** What an upstream has that says nothing. */
const USUAL = { models: null, timeoutSeconds: 600, maxInFlight: 64, requestsPerMinute: null, tokensPerMinute: null };

const LONG = "a secret of at least thirty-two characters";

describe("settings", () => {
  test("have defaults for all but the key and the upstreams", () => {
    expect(parse()).toEqual({
      adminApiKey: "sk-admin",
      upstreams: new Map([
        ["echo", { kind: "echo", name: "echo", ...USUAL }],
        [
          "openai",
          {
            kind: "http",
            name: "openai",
            ...USUAL,
            baseUrl: "https://api.openai.com/v1",
            apiKey: "sk-openai",
            guestCheckPath: "/models",
          },
        ],
      ]),
      defaultUpstream: { kind: "echo", name: "echo", ...USUAL },
      completionWindows: new Map([["24h", 86_400]]),
      passThrough: false,
      encryptionKey: null,
      guestMaxStoredBytes: 2_147_483_648,
      guestMaxLiveBatches: 20,
      linesPerInvocation: 5,
      consumerWaits: true,
      maxLinesPerBatch: 50_000,
      dispatchQueues: [GOOD["DISPATCHES"]],
    });
  });

  test("list the dispatch queues by their numbers, in whatever order they come", () => {
    const others = Array.from(
      { length: 11 },
      (_, index) => [`DISPATCHES_${index + 2}`, aQueue(`${index + 2}`)] as const,
    );
    const { dispatchQueues } = parse(Object.fromEntries(others.toReversed()));
    expect(dispatchQueues).toEqual([GOOD["DISPATCHES"], ...others.map(([, queue]) => queue)]);
  });

  test("take upstreams as a table and as JSON text alike", () => {
    expect(parse({ UPSTREAMS: JSON.stringify(GOOD["UPSTREAMS"]) })).toEqual(parse());
  });

  test.each([
    ["LINES_PER_INVOCATION", "64", "linesPerInvocation", 64],
    ["LINES_PER_INVOCATION", 64, "linesPerInvocation", 64],
    ["CONSUMER_WAITS", "false", "consumerWaits", false],
    ["MAX_LINES_PER_BATCH", "100", "maxLinesPerBatch", 100],
    ["MAX_LINES_PER_BATCH", "80000", "maxLinesPerBatch", 80_000],
    ["ENCRYPTION_KEY", LONG, "encryptionKey", LONG],
    ["GUEST_MAX_STORED_BYTES", "1000000", "guestMaxStoredBytes", 1_000_000],
    ["GUEST_MAX_LIVE_BATCHES", "1", "guestMaxLiveBatches", 1],
  ] as const)("read %s=%j", (key, value, name, expected) => {
    expect(parse({ [key]: value })[name]).toBe(expected);
  });

  test.each([
    ["20s", [["20s", 20]]],
    [
      "24h, 30m,7d",
      [
        ["24h", 86_400],
        ["30m", 1800],
        ["7d", 604_800],
      ],
    ],
  ] as const)("read the windows %j", (list, windows) => {
    expect([...parse({ COMPLETION_WINDOWS: list }).completionWindows]).toEqual(windows);
  });

  test("cut slashes off the end of a base URL, and know upstreams without a key", () => {
    const settings = parse(upstream({ base_url: "http://127.0.0.1:11434/v1//", api_key_secret: undefined }));
    expect(settings.upstreams.get("openai")).toMatchObject({ baseUrl: "http://127.0.0.1:11434/v1", apiKey: null });
  });

  test.each([
    [true, "/models"],
    [false, null],
    ["/auth/key", "/auth/key"],
  ])("say where a guest's key is checked: %j", (setting, expected) => {
    const { upstreams } = parse(upstream({ check_guest_keys: setting }));
    expect(upstreams.get("openai")).toMatchObject({ guestCheckPath: expected });
  });

  test.each([
    ["requests_per_minute", 1, "requestsPerMinute", 1],
    ["requests_per_minute", "500", "requestsPerMinute", 500],
    ["requests_per_minute", Number.MAX_SAFE_INTEGER, "requestsPerMinute", Number.MAX_SAFE_INTEGER],
    ["tokens_per_minute", 1, "tokensPerMinute", 1],
    ["tokens_per_minute", 30_000_000, "tokensPerMinute", 30_000_000],
  ])("give an upstream a budget: %s=%j", (key, value, name, expected) => {
    expect(parse(upstream({ [key]: value })).upstreams.get("openai")).toMatchObject({ [name]: expected });
    const echo = parse({ UPSTREAMS: { echo: { kind: "echo", [key]: value } } }).defaultUpstream;
    expect(echo).toEqual({ kind: "echo", name: "echo", ...USUAL, [name]: expected });
  });

  test("are read once for each environment", () => {
    expect(settingsOf(GOOD)).toBe(settingsOf(GOOD));
    expect(settingsOf({ ...GOOD })).not.toBe(settingsOf(GOOD));
  });
});

describe("a mistake is named with its key", () => {
  test.each([
    ["ADMIN_API_KEY", { ADMIN_API_KEY: undefined }, "must be set"],
    ["ADMIN_API_KEY", { ADMIN_API_KEY: "" }, "must not be empty"],
    ["DEFAULT_UPSTREAM", { DEFAULT_UPSTREAM: "other" }, "there is no upstream 'other' in UPSTREAMS"],
    ["DEFAULT_UPSTREAM", { DEFAULT_UPSTREAM: "" }, "must name an upstream"],
    ["DEFAULT_UPSTREAM", { DEFAULT_UPSTREAM: undefined }, ""],
    ["UPSTREAMS", { UPSTREAMS: undefined }, ""],
    ["UPSTREAMS", { UPSTREAMS: "{" }, "is not valid JSON"],
    ["UPSTREAMS", { UPSTREAMS: "[]" }, ""],
    ["UPSTREAMS.bad name", { UPSTREAMS: { "bad name": { kind: "echo" } } }, ""],
    ["UPSTREAMS.openai.kind", upstream({ kind: "https" }), 'must be "http" or "echo"'],
    ["UPSTREAMS.openai.kind", upstream({ kind: undefined }), 'must be "http" or "echo"'],
    ["UPSTREAMS.openai", upstream({ baseurl: "https://x" }), "baseurl"],
    ["UPSTREAMS.openai.base_url", upstream({ base_url: undefined }), "must be an http or https URL"],
    ["UPSTREAMS.openai.base_url", upstream({ base_url: "api.openai.com/v1" }), "must be an http or https URL"],
    ["UPSTREAMS.openai.base_url", upstream({ base_url: "ftp://api.openai.com" }), "must be an http or https URL"],
    ["UPSTREAMS.openai.base_url", upstream({ base_url: "http://203.0.113.5:8000/v1" }), "must name its host"],
    ["UPSTREAMS.openai.base_url", upstream({ base_url: "http://192.168.1.20:11434/v1" }), "Private servers"],
    ["UPSTREAMS.openai.base_url", upstream({ base_url: "http://[fd00::1]/v1" }), "must name its host"],
    ["UPSTREAMS.openai.api_key_secret", upstream({ api_key_secret: "MISSING" }), "the secret it names is not set"],
    ["UPSTREAMS.openai.models", upstream({ models: "gpt" }), "must be a list of model names"],
    ["UPSTREAMS.openai.models", upstream({ models: [] }), "must not be empty"],
    ["UPSTREAMS.openai.timeout_seconds", upstream({ timeout_seconds: 0 }), "must be at least 1"],
    ["UPSTREAMS.openai.timeout_seconds", upstream({ timeout_seconds: 801 }), "must be at most 800"],
    ["UPSTREAMS.openai.timeout_seconds", upstream({ timeout_seconds: "soon" }), "must be a number"],
    ["UPSTREAMS.openai.max_in_flight", upstream({ max_in_flight: 1.5 }), "must be a whole number"],
    ["UPSTREAMS.openai.requests_per_minute", upstream({ requests_per_minute: 0 }), "must be at least 1"],
    ["UPSTREAMS.openai.requests_per_minute", upstream({ requests_per_minute: 0.5 }), "must be a whole number"],
    ["UPSTREAMS.openai.requests_per_minute", upstream({ requests_per_minute: "many" }), "must be a number"],
    ["UPSTREAMS.openai.requests_per_minute", upstream({ requests_per_minute: 2 ** 53 }), ""],
    ["UPSTREAMS.openai.tokens_per_minute", upstream({ tokens_per_minute: 0 }), "must be at least 1"],
    ["UPSTREAMS.openai.tokens_per_minute", upstream({ tokens_per_minute: null }), "must be at least 1"],
    ["UPSTREAMS.openai.tokens_per_minute", upstream({ tokens_per_minute: 1.5 }), "must be a whole number"],
    ["UPSTREAMS.openai.check_guest_keys", upstream({ check_guest_keys: "models" }), "a path such as"],
    ["UPSTREAMS.openai.check_guest_keys", upstream({ check_guest_keys: "/a?b" }), "a path such as"],
    ["UPSTREAMS.openai.check_guest_keys", upstream({ check_guest_keys: 1 }), "a path such as"],
    ["GUEST_MAX_STORED_BYTES", { GUEST_MAX_STORED_BYTES: "0" }, "must be at least 1"],
    ["GUEST_MAX_LIVE_BATCHES", { GUEST_MAX_LIVE_BATCHES: "0" }, "must be at least 1"],
    ["GUEST_MAX_LIVE_BATCHES", { GUEST_MAX_LIVE_BATCHES: "10001" }, "must be at most 10000"],
    ["COMPLETION_WINDOWS", { COMPLETION_WINDOWS: "" }, "is no window"],
    ["COMPLETION_WINDOWS", { COMPLETION_WINDOWS: "24h," }, "'' is no window"],
    ["COMPLETION_WINDOWS", { COMPLETION_WINDOWS: "1 day" }, "'1 day' is no window"],
    ["COMPLETION_WINDOWS", { COMPLETION_WINDOWS: "0s" }, "'0s' is no window"],
    ["PASS_THROUGH", { PASS_THROUGH: "yes" }, 'must be "true" or "false"'],
    ["ENCRYPTION_KEY", { PASS_THROUGH: "true" }, "must be set when PASS_THROUGH is true"],
    ["ENCRYPTION_KEY", { ENCRYPTION_KEY: "short" }, "must have at least 32 characters"],
    ["LINES_PER_INVOCATION", { LINES_PER_INVOCATION: "0" }, "must be at least 1"],
    ["LINES_PER_INVOCATION", { LINES_PER_INVOCATION: "many" }, "must be a number"],
    ["LINES_PER_INVOCATION", { LINES_PER_INVOCATION: "" }, ""],
    ["CONSUMER_WAITS", { CONSUMER_WAITS: "0" }, 'must be "true" or "false"'],
    ["MAX_LINES_PER_BATCH", { MAX_LINES_PER_BATCH: "1.5" }, "must be a whole number"],
    ["MAX_LINES_PER_BATCH", { MAX_LINES_PER_BATCH: "80001" }, "must be at most 80000"],
    ["DISPATCHES", { DISPATCHES: undefined }, "must be the binding of a queue"],
    ["DISPATCHES_2", { DISPATCHES_2: "nightshift-dispatches-2" }, "must be the binding of a queue"],
    ["DISPATCHES_2", { DISPATCHES_2: { get: () => null } }, "must be the binding of a queue"],
    ["DISPATCHES_2", { DISPATCHES_3: aQueue("3") }, "is missing, beside DISPATCHES_3"],
    ["DISPATCHES_2", { DISPATCHES_1: aQueue("1") }, "is missing, beside DISPATCHES_1"],
    ["DISPATCHES_3", { DISPATCHES_2: aQueue("2"), DISPATCHES_02: aQueue("2") }, "is missing, beside"],
  ])("%s, given %j", (key, change, message) => {
    let caught: unknown;
    try {
      parse(change);
    } catch (error) {
      caught = error;
    }
    expect(caught).toBeInstanceOf(SettingsError);
    expect(String(caught)).toContain(`${key}: `);
    expect(String(caught)).toContain(message);
  });

  test("and never with a secret's value", () => {
    const secret = "sk-very-secret";
    expect(() => parse({ ENCRYPTION_KEY: secret })).toThrow(/^(?!.*sk-very-secret)/);
    expect(() => parse({ UPSTREAMS: `{"key": "${secret}"` })).toThrow(/^(?!.*sk-very-secret)/);
  });
});

test("each dispatch queue of wrangler.toml, those that are commented out included, has a consumer like the first one's", () => {
  const deployment = readFileSync(path.resolve(import.meta.dirname, "../wrangler.toml"), "utf8");
  const text = deployment.replaceAll(/^# ?(?=\[\[queues|[a-z_]+ = |$)/gm, "");
  const blocks = text.split("\n\n").filter((block) => block.includes("[[queues."));
  const queues = text.matchAll(/^binding = "(DISPATCHES\w*)"\nqueue = "([\w-]+)"$/gm);
  const names = [...queues].map(([, binding = "", queue = ""]) => [binding, queue] as const);
  expect(names.map(([binding]) => binding)).toEqual(["DISPATCHES", "DISPATCHES_2", "DISPATCHES_3"]);
  const consumers = names.map(([, queue]) =>
    blocks
      .filter((block) => block.includes(`[[queues.consumers]]\nqueue = "${queue}"\n`))
      .map((block) => block.slice(block.indexOf("max_batch_size")).trim()),
  );
  expect(consumers[0]).toEqual([expect.stringContaining("max_concurrency = 250")]);
  expect(consumers).toEqual(names.map(() => consumers[0]));
});

test("an upstream may be a Worker of the same account: what makes it so on the edge has no effect on local runs", () => {
  const deployment = readFileSync(path.resolve(import.meta.dirname, "../wrangler.toml"), "utf8");
  expect(deployment).toContain('"global_fetch_strictly_public"');
});
