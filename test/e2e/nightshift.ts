/** What every end-to-end file stands on: a real local stack, a fake upstream beside it, and the official SDK. */
import OpenAI, { toFile } from "openai";
import { expect, vi } from "vitest";
import { startLocalStack } from "../../scripts/local-stack.ts";
import { type FakeUpstream, type Script, startFakeUpstream } from "./fake-upstream.ts";

export const CONFIGURED_UPSTREAM_KEY = "sk-configured-upstream-key";
export const MAX_IN_FLIGHT = 32;

export interface Nightshift {
  readonly origin: string;
  readonly client: OpenAI;
  readonly upstream: FakeUpstream;
  /** All that the stack has printed. */
  readonly log: () => string;
  readonly stop: () => Promise<void>;
}

/** A line of an output or error file. */
export interface ResultLine {
  readonly id: string;
  readonly custom_id: string;
  readonly response: { readonly status_code: number; readonly request_id: string; readonly body: unknown } | null;
  readonly error: { readonly code: string; readonly message: string } | null;
}

const BATCH_PATIENCE_MS = 90_000;
const POLL_MS = 100;
const FINAL_STATUSES: ReadonlySet<string> = new Set(["completed", "failed", "expired", "cancelled"]);

/** @param variables of the Worker, beside those that make the fake upstream the default one. */
export async function startNightshift(variables: Readonly<Record<string, string>> = {}): Promise<Nightshift> {
  const upstream = await startFakeUpstream();
  const fake = { kind: "http", base_url: upstream.baseUrl, api_key_secret: "FAKE_KEY", max_in_flight: MAX_IN_FLIGHT };
  const stack = await startLocalStack({
    variables: {
      UPSTREAMS: JSON.stringify({ fake }),
      DEFAULT_UPSTREAM: "fake",
      FAKE_KEY: CONFIGURED_UPSTREAM_KEY,
      ...variables,
    },
  });
  return {
    origin: stack.origin,
    client: new OpenAI({ baseURL: `${stack.origin}/v1`, apiKey: stack.apiKey }),
    upstream,
    log: stack.log,
    stop: async () => {
      await stack.stop();
      await upstream.stop();
    },
  };
}

/** An input line for the fake upstream; its custom_id is the script's name for it. */
export function chatLine(script: Script): string {
  const body = { model: "m", messages: [{ role: "user", content: `line ${script.line}` }], script };
  return JSON.stringify({ custom_id: script.line, method: "POST", url: "/v1/chat/completions", body });
}

export async function createBatch(
  client: OpenAI,
  lines: readonly string[],
  completionWindow = "24h",
): Promise<OpenAI.Batch> {
  const file = await toFile(Buffer.from(`${lines.join("\n")}\n`), "input.jsonl");
  const input = await client.files.create({ file, purpose: "batch" });
  return client.batches.create({
    input_file_id: input.id,
    endpoint: "/v1/chat/completions",
    // The SDK knows OpenAI's one window; a deployment may have others.
    completion_window: completionWindow as "24h",
  });
}

export async function waitForBatch(
  client: OpenAI,
  id: string,
  condition: (batch: OpenAI.Batch) => boolean = ({ status }) => FINAL_STATUSES.has(status),
): Promise<OpenAI.Batch> {
  return vi.waitFor(
    async () => {
      const batch = await client.batches.retrieve(id);
      expect(batch, "the batch comes to the state that was waited for").toSatisfy(condition);
      return batch;
    },
    { timeout: BATCH_PATIENCE_MS, interval: POLL_MS },
  );
}

export async function waitUntil(condition: () => boolean): Promise<void> {
  await vi.waitFor(() => expect(condition()).toBe(true), { timeout: BATCH_PATIENCE_MS, interval: POLL_MS });
}

/** The text of a result file; empty when the batch has none. */
export async function readText(client: OpenAI, fileId: string | null | undefined): Promise<string> {
  if (typeof fileId !== "string") return "";
  const response = await client.files.content(fileId);
  return response.text();
}

export async function readResults(client: OpenAI, fileId: string | null | undefined): Promise<ResultLine[]> {
  const text = await readText(client, fileId);
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as ResultLine);
}
