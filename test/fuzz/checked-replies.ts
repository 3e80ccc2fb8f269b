/**
 * Sends, and checks what must be true of every reply, whatever was sent. Straight to the app, not through the
 * runtime's door as `send` does: the pieces of a body arrive as they were cut.
 */
import { createExecutionContext } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { expect } from "vitest";
import { app } from "../../src/http/app.ts";
import { type Answered, makeRequest, readAnswer } from "../support/service.ts";

const REFUSALS: readonly number[] = [400, 401, 404, 405, 409, 412, 413, 416];

export interface Reply extends Answered {
  /** Without a member when the reply is no JSON. */
  readonly json: Readonly<Record<string, unknown>>;
}

export async function sendChecked(path: string, init: RequestInit = {}): Promise<Reply> {
  const answered = await readAnswer(await app.fetch(makeRequest(path, init), env, createExecutionContext()));
  expect(answered.headers.get("x-request-id")).toMatch(/^req_[0-9a-f]{32}$/);
  const isJson = answered.headers.get("content-type") === "application/json";
  if (isJson) expect(answered.json).not.toBeNull();
  const json = isJson ? (answered.json ?? {}) : {};
  if (answered.status >= 400) {
    expect(REFUSALS).toContain(answered.status);
    expectEnvelope(json);
  }
  return { ...answered, json };
}

/** Neither repeats more than a short piece of what was sent. */
function expectEnvelope(json: unknown): void {
  const text = (least: number, most: number) => expect.stringMatching(new RegExp(`^[^]{${least},${most}}$`)) as unknown;
  const orNull = (expected: unknown) => expect.toBeOneOf([expected, null]) as unknown;
  expect(json).toEqual({
    error: {
      message: text(1, 600),
      type: "invalid_request_error",
      param: orNull(text(0, 250)),
      code: orNull(text(1, 50)),
    },
  });
}
