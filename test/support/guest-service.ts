/** The Worker with upstreams that check guests' keys, and such an upstream to play. */
import { env } from "cloudflare:workers";
import { createExecutionContext } from "cloudflare:test";
import { vi } from "vitest";
import { app } from "../../src/http/app.ts";
import { type Answered, BOUNDARY, writeForm } from "./service.ts";

export const LINE = '{"custom_id":"a","method":"POST","url":"/v1/embeddings","body":{"model":"m","input":"x"}}\n';

export interface GuestService {
  readonly send: (path: string, init: RequestInit) => Promise<Answered>;
  /** The binding that counts failed checks. It says yes until it is told otherwise. */
  readonly limit: ReturnType<typeof vi.fn<RateLimit["limit"]>>;
}

export function makeGuestService(settings: Readonly<Record<string, string>> = {}): GuestService {
  const limit = vi.fn<RateLimit["limit"]>(() => Promise.resolve({ success: true }));
  const provider = { kind: "http", base_url: "http://provider.test/v1" };
  const UPSTREAMS = {
    echo: { kind: "echo" },
    provider,
    elsewhere: { ...provider, check_guest_keys: "/auth/key" },
    unchecked: { ...provider, check_guest_keys: false },
  };
  const guestEnv = { ...env, UPSTREAMS, GUEST_FAILURES: { limit }, ...settings };
  async function send(path: string, init: RequestInit): Promise<Answered> {
    const request = new Request(`https://nightshift.test${path}`, init);
    const response = await app.fetch(request, guestEnv, createExecutionContext());
    const text = await response.text();
    const json = text === "" ? null : (JSON.parse(text) as Record<string, unknown>);
    return { status: response.status, headers: response.headers, text, json };
  }
  return { send, limit };
}

/** A guest with a key that nobody else has. */
export function makeGuest(upstream = "provider", key = `sk-${crypto.randomUUID()}`) {
  return { authorization: `Bearer ${key}`, "x-portkey-provider": upstream };
}

/** Plays the provider: each call is answered by the status that the function gives. */
export function standInForProvider(answer: (path: string) => number = () => 200) {
  return vi.spyOn(globalThis, "fetch").mockImplementation((url) => {
    const { pathname } = new URL(new Request(url).url);
    return Promise.resolve(new Response(null, { status: answer(pathname) }));
  });
}

export function uploadAs(service: GuestService, headers: Readonly<Record<string, string>>, content = LINE) {
  const body = writeForm([
    { name: "purpose", content: "batch" },
    { name: "file", filename: "input.jsonl", content },
  ]);
  const contentType = `multipart/form-data; boundary=${BOUNDARY}`;
  return service.send("/v1/files", { method: "POST", body, headers: { ...headers, "content-type": contentType } });
}

export function createAs(service: GuestService, headers: Readonly<Record<string, string>>, fileId = "file-0") {
  const order = { input_file_id: fileId, endpoint: "/v1/embeddings", completion_window: "24h" };
  return service.send("/v1/batches", { method: "POST", body: JSON.stringify(order), headers });
}
