/**
 * The deployment's settings, read from the Worker's environment and checked once per isolate. A mistake is
 * one message that names the key. Secrets are read here and nowhere else.
 */
import * as z from "zod";
import { canBeSent } from "./domain/bearer-key.ts";
import { isForeignAddress } from "./domain/upstream-host.ts";

export type Upstream = EchoUpstream | HttpUpstream;

interface UpstreamCommon {
  readonly name: string;
  /** Models that lines may name; null: any. */
  readonly models: readonly string[] | null;
  /** From the moment a request has its slot until its answer is read. */
  readonly timeoutSeconds: number;
  /** Lines of all batches in flight at once. */
  readonly maxInFlight: number;
  /** Of all batches together; of a guest's batches where the guest brings its own key. Null: no budget. */
  readonly requestsPerMinute: number | null;
  readonly tokensPerMinute: number | null;
}

export interface EchoUpstream extends UpstreamCommon {
  readonly kind: "echo";
}

export interface HttpUpstream extends UpstreamCommon {
  readonly kind: "http";
  /** `https://host/v1`, without a slash at the end. */
  readonly baseUrl: string;
  readonly apiKey: string | null;
  /** Where a guest's key is tried, such as `/models`, behind `baseUrl`; null: it is not. */
  readonly guestCheckPath: string | null;
}

export interface Settings {
  readonly adminApiKey: string;
  readonly upstreams: ReadonlyMap<string, Upstream>;
  readonly defaultUpstream: Upstream;
  /** Allowed completion windows in seconds, by their name on the wire. */
  readonly completionWindows: ReadonlyMap<string, number>;
  readonly passThrough: boolean;
  /** Null unless set; never null when `passThrough`. */
  readonly encryptionKey: string | null;
  /** What one guest may have at once. */
  readonly guestMaxStoredBytes: number;
  readonly guestMaxLiveBatches: number;
  readonly linesPerInvocation: number;
  readonly consumerWaits: boolean;
  readonly maxLinesPerBatch: number;
  /** The bindings `DISPATCHES`, `DISPATCHES_2` and so on, in this order; at least one. */
  readonly dispatchQueues: readonly Queue[];
}

/** A mistake in the settings. Its message is for the operator, never for a client. */
export class SettingsError extends Error {
  override readonly name = "SettingsError";
}

const SECONDS_OF_UNIT = { s: 1, m: 60, h: 3600, d: 86_400 } as const;
const MIN_ENCRYPTION_KEY_CHARACTERS = 32;
/** Every OpenAI-compatible server has it, and the real ones want a key for it. */
const USUAL_GUEST_CHECK_PATH = "/models";
const USUAL_GUEST_BYTES = 2 * 1024 ** 3;
/**
 * What one alarm of a coordinator can finalize: at worst each line needs a read of its own, five at once take about 40 ms, and
 * an alarm has 15 minutes and `subrequests = 100_000` (wrangler.toml). 80,000 lines take 640 s, and leave 20,000
 * subrequests for blocks, which are 2 MiB each: 40 GB of results.
 */
const MAX_LINES_SETTING = 80_000;

const wholeNumber = (least: number, most: number) =>
  z.coerce
    .number({ error: "must be a number" })
    .int("must be a whole number")
    .min(least, `must be at least ${least}`)
    .max(most, `must be at most ${most}`);

const upstreamCommon = {
  models: z.array(z.string(), { error: "must be a list of model names" }).nonempty("must not be empty").optional(),
  timeout_seconds: wholeNumber(1, 800).default(600),
  max_in_flight: wholeNumber(1, 10_000).default(64),
  requests_per_minute: wholeNumber(1, Number.MAX_SAFE_INTEGER).optional(),
  tokens_per_minute: wholeNumber(1, Number.MAX_SAFE_INTEGER).optional(),
};

const CHECK_GUEST_KEYS_ERROR = 'must be true, false, or a path such as "/models"';

const upstreamSchema = z.discriminatedUnion(
  "kind",
  [
    z.strictObject({ kind: z.literal("echo"), ...upstreamCommon }),
    z.strictObject({
      kind: z.literal("http"),
      base_url: z
        .url({
          protocol: /^https?$/,
          error: "must be an http or https URL, such as https://api.openai.com/v1",
          abort: true,
        })
        .refine((url) => !isForeignAddress(url), {
          error:
            "must name its host, because Cloudflare refuses requests to IP addresses; for a private server see docs/operating.md, Private servers",
        }),
      api_key_secret: z.string().min(1).optional(),
      check_guest_keys: z
        .union([z.boolean(), z.string()], { error: CHECK_GUEST_KEYS_ERROR })
        .refine((setting) => typeof setting === "boolean" || /^\/[\w./-]*$/.test(setting), {
          error: CHECK_GUEST_KEYS_ERROR,
        })
        .default(true),
      ...upstreamCommon,
    }),
  ],
  { error: 'must be "http" or "echo"' },
);

const upstreamsSchema = z.record(
  z.string().regex(/^[a-z0-9][a-z0-9._-]{0,63}$/i, "is no upstream name: letters, digits, '.', '_' and '-'"),
  upstreamSchema,
);

const dispatchQueueSchema = z.custom<Queue>(
  (binding) => typeof binding === "object" && binding !== null && "sendBatch" in binding,
  "must be the binding of a queue",
);

const flag = z.enum(["true", "false"], { error: 'must be "true" or "false"' });

const parsedEnvironments = new WeakMap<object, Settings>();

/**
 * The settings of this environment, parsed at the first call.
 * @throws SettingsError
 */
export function settingsOf(env: object): Settings {
  const known = parsedEnvironments.get(env);
  if (known !== undefined) return known;
  const settings = parseSettings(new Map(Object.entries(env)));
  parsedEnvironments.set(env, settings);
  return settings;
}

/** @throws SettingsError whose message names the key that is wrong. */
export function parseSettings(variables: ReadonlyMap<string, unknown>): Settings {
  const upstreams = parseUpstreams(variables);
  const defaultName = read(variables, "DEFAULT_UPSTREAM", z.string().min(1, "must name an upstream"));
  const defaultUpstream = upstreams.get(defaultName);
  if (defaultUpstream === undefined) {
    throw new SettingsError(`DEFAULT_UPSTREAM: there is no upstream '${defaultName}' in UPSTREAMS`);
  }
  const passThrough = read(variables, "PASS_THROUGH", flag.default("false")) === "true";
  const encryptionKey = read(
    variables,
    "ENCRYPTION_KEY",
    z
      .string()
      .min(MIN_ENCRYPTION_KEY_CHARACTERS, `must have at least ${MIN_ENCRYPTION_KEY_CHARACTERS} characters`)
      .optional(),
  );
  if (passThrough && encryptionKey === undefined) {
    throw new SettingsError("ENCRYPTION_KEY: must be set when PASS_THROUGH is true");
  }
  return {
    adminApiKey: read(
      variables,
      "ADMIN_API_KEY",
      z.string({ error: "must be set (a secret)" }).min(1, "must not be empty"),
    ),
    upstreams,
    defaultUpstream,
    completionWindows: parseWindows(read(variables, "COMPLETION_WINDOWS", z.string().default("24h"))),
    passThrough,
    encryptionKey: encryptionKey ?? null,
    guestMaxStoredBytes: read(
      variables,
      "GUEST_MAX_STORED_BYTES",
      wholeNumber(1, Number.MAX_SAFE_INTEGER).default(USUAL_GUEST_BYTES),
    ),
    guestMaxLiveBatches: read(variables, "GUEST_MAX_LIVE_BATCHES", wholeNumber(1, 10_000).default(20)),
    linesPerInvocation: read(variables, "LINES_PER_INVOCATION", wholeNumber(1, 1000).default(5)),
    consumerWaits: read(variables, "CONSUMER_WAITS", flag.default("true")) === "true",
    maxLinesPerBatch: read(variables, "MAX_LINES_PER_BATCH", wholeNumber(1, MAX_LINES_SETTING).default(50_000)),
    dispatchQueues: readDispatchQueues(variables),
  };
}

/** Optional bindings are not in the generated `Env`: they are looked up by their names. */
function readDispatchQueues(variables: ReadonlyMap<string, unknown>): readonly Queue[] {
  const queues = [read(variables, "DISPATCHES", dispatchQueueSchema)];
  const others = [...variables.keys()].filter((key) => key.startsWith("DISPATCHES_"));
  while (queues.length <= others.length) {
    const name = `DISPATCHES_${queues.length + 1}`;
    if (!variables.has(name)) throw new SettingsError(`${name}: is missing, beside ${others.join(", ")}`);
    queues.push(read(variables, name, dispatchQueueSchema));
  }
  return queues;
}

function parseUpstreams(variables: ReadonlyMap<string, unknown>): ReadonlyMap<string, Upstream> {
  const table = read(new Map([["UPSTREAMS", readTable(variables.get("UPSTREAMS"))]]), "UPSTREAMS", upstreamsSchema);
  const upstreams = new Map<string, Upstream>();
  for (const [name, entry] of Object.entries(table)) {
    const common = {
      name,
      models: entry.models ?? null,
      timeoutSeconds: entry.timeout_seconds,
      maxInFlight: entry.max_in_flight,
      requestsPerMinute: entry.requests_per_minute ?? null,
      tokensPerMinute: entry.tokens_per_minute ?? null,
    };
    if (entry.kind === "echo") {
      upstreams.set(name, { kind: "echo", ...common });
    } else {
      const baseUrl = entry.base_url.replace(/\/+$/, "");
      upstreams.set(name, {
        kind: "http",
        ...common,
        baseUrl,
        apiKey: readApiKey(variables, name, entry.api_key_secret),
        guestCheckPath: toCheckPath(entry.check_guest_keys),
      });
    }
  }
  return upstreams;
}

function toCheckPath(setting: boolean | string): string | null {
  if (typeof setting === "string") return setting;
  return setting ? USUAL_GUEST_CHECK_PATH : null;
}

/** A variable of kind JSON comes parsed; one that was set as text does not. */
function readTable(raw: unknown): unknown {
  if (typeof raw !== "string") return raw;
  try {
    return JSON.parse(raw);
  } catch {
    throw new SettingsError("UPSTREAMS: is not valid JSON");
  }
}

function readApiKey(
  variables: ReadonlyMap<string, unknown>,
  upstream: string,
  secret: string | undefined,
): string | null {
  if (secret === undefined) return null;
  const value = variables.get(secret);
  if (typeof value === "string" && canBeSent(value)) return value;
  if (typeof value === "string" && value !== "") {
    throw new SettingsError(`UPSTREAMS.${upstream}.api_key_secret: the secret it names is no key: visible ASCII only`);
  }
  // Not quoted: whoever wrote the key itself here must not find it in the log.
  throw new SettingsError(`UPSTREAMS.${upstream}.api_key_secret: the secret it names is not set`);
}

function parseWindows(list: string): ReadonlyMap<string, number> {
  const windows = new Map<string, number>();
  for (const name of list.split(",").map((part) => part.trim())) {
    const match = /^([1-9][0-9]{0,5})([smhd])$/.exec(name);
    if (match === null) throw new SettingsError(`COMPLETION_WINDOWS: '${name}' is no window such as 24h, 30m or 20s`);
    windows.set(name, Number(match[1]) * SECONDS_OF_UNIT[match[2] as keyof typeof SECONDS_OF_UNIT]);
  }
  return windows;
}

function read<Schema extends z.ZodType>(
  variables: ReadonlyMap<string, unknown>,
  key: string,
  schema: Schema,
): z.output<Schema> {
  const parsed = schema.safeParse(variables.get(key));
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  const path = [key, ...(issue?.path ?? [])].join(".");
  throw new SettingsError(`${path}: ${issue?.message ?? "is not valid"}`);
}
