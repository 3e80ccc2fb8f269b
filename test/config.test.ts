/** The settings: what the defaults are, and that a mistake is one message which names the key. */
import { describe, expect, it } from "vitest";
import { parseSettings, settingsOf, SettingsError } from "../src/config.ts";

const ENOUGH = { ADMIN_API_KEY: "sk-admin", DEFAULT_UPSTREAM: "echo", UPSTREAMS: { echo: { kind: "echo" } } };
const HTTP = { kind: "http", base_url: "https://models.example/v1" };

function parse(variables: Readonly<Record<string, unknown>>): ReturnType<typeof parseSettings> {
  return parseSettings(new Map(Object.entries({ ...ENOUGH, ...variables })));
}

function messageOf(variables: Readonly<Record<string, unknown>>): string {
  try {
    parse(variables);
    return "no mistake";
  } catch (error) {
    expect(error).toBeInstanceOf(SettingsError);
    return (error as SettingsError).message;
  }
}

describe("settings", () => {
  it("have a default for all but the key and the upstreams", () => {
    const settings = parse({});

    expect(settings).toMatchObject({
      adminApiKey: "sk-admin",
      passThrough: false,
      encryptionKey: null,
      linesPerInvocation: 5,
      consumerWaits: true,
      maxLinesPerBatch: 50_000,
    });
    expect(settings.completionWindows).toEqual(new Map([["24h", 86_400]]));
    expect(settings.defaultUpstream).toEqual({
      kind: "echo",
      name: "echo",
      models: null,
      timeoutSeconds: 600,
      maxInFlight: 64,
    });
  });

  it("are parsed once for an environment", () => {
    const env = { ...ENOUGH };

    expect(settingsOf(env)).toBe(settingsOf(env));
  });

  it("take the upstreams as a table or as a JSON string", () => {
    const upstreams = { echo: { kind: "echo" }, far: { ...HTTP, models: ["m"], timeout_seconds: 5, max_in_flight: 9 } };

    const settings = parse({ UPSTREAMS: JSON.stringify(upstreams) });

    expect(settings.upstreams).toEqual(parse({ UPSTREAMS: upstreams }).upstreams);
    expect(settings.upstreams.get("far")).toEqual({
      kind: "http",
      name: "far",
      baseUrl: "https://models.example/v1",
      apiKey: null,
      models: ["m"],
      timeoutSeconds: 5,
      maxInFlight: 9,
    });
  });

  it("read an upstream's key from the secret that it names, and its URL without the slashes at its end", () => {
    const far = { ...HTTP, base_url: "http://127.0.0.1:11434/v1//", api_key_secret: "FAR_KEY" };

    const settings = parse({ UPSTREAMS: { echo: { kind: "echo" }, far }, FAR_KEY: "sk-far" });

    expect(settings.upstreams.get("far")).toMatchObject({ apiKey: "sk-far", baseUrl: "http://127.0.0.1:11434/v1" });
  });

  it("know windows in seconds, minutes, hours and days", () => {
    const { completionWindows } = parse({ COMPLETION_WINDOWS: "20s, 5m,24h,7d" });

    expect([...completionWindows]).toEqual([
      ["20s", 20],
      ["5m", 300],
      ["24h", 86_400],
      ["7d", 604_800],
    ]);
  });

  it.each<[mistake: string, variables: Readonly<Record<string, unknown>>, message: string]>([
    ["no key", { ADMIN_API_KEY: undefined }, "ADMIN_API_KEY: must be set (a secret)"],
    ["an empty key", { ADMIN_API_KEY: "" }, "ADMIN_API_KEY: must not be empty"],
    ["no JSON", { UPSTREAMS: "{echo}" }, "UPSTREAMS: is not valid JSON"],
    ["an unknown kind", { UPSTREAMS: { a: { kind: "grpc" } } }, 'UPSTREAMS.a.kind: kind must be "http" or "echo"'],
    ["an unknown default", { DEFAULT_UPSTREAM: "x" }, "DEFAULT_UPSTREAM: there is no upstream 'x' in UPSTREAMS"],
    [
      "a URL that is none",
      { UPSTREAMS: { a: { kind: "http", base_url: "models.example" } } },
      "UPSTREAMS.a.base_url: must be an http or https URL, such as https://api.openai.com/v1",
    ],
    [
      "a secret that is not set",
      { UPSTREAMS: { echo: { kind: "echo" }, a: { ...HTTP, api_key_secret: "A_KEY" } } },
      "UPSTREAMS.a.api_key_secret: the secret A_KEY is not set",
    ],
    [
      "a timeout beyond what the platform allows",
      { UPSTREAMS: { a: { kind: "echo", timeout_seconds: 801 } } },
      "UPSTREAMS.a.timeout_seconds: must be at most 800",
    ],
    [
      "a window that is none",
      { COMPLETION_WINDOWS: "24h,soon" },
      "COMPLETION_WINDOWS: 'soon' is no window such as 24h, 30m or 20s",
    ],
    ["a flag that is none", { PASS_THROUGH: "yes" }, 'PASS_THROUGH: must be "true" or "false"'],
    ["pass-through without its key", { PASS_THROUGH: "true" }, "ENCRYPTION_KEY: must be set when PASS_THROUGH is true"],
    ["a short encryption key", { ENCRYPTION_KEY: "short" }, "ENCRYPTION_KEY: must have at least 32 characters"],
    ["a number that is none", { MAX_LINES_PER_BATCH: "many" }, "MAX_LINES_PER_BATCH: must be a number"],
    ["too small a number", { LINES_PER_INVOCATION: "0" }, "LINES_PER_INVOCATION: must be at least 1"],
  ])("name the key of a mistake: %s", (_mistake, variables, message) => {
    expect(messageOf(variables)).toBe(message);
  });

  it("say an unknown member of an upstream by its place", () => {
    expect(messageOf({ UPSTREAMS: { a: { ...HTTP, baseurl: "x" } } })).toMatch(/^UPSTREAMS\.a: .*baseurl/);
  });
});
