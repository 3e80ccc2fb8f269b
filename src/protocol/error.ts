/** OpenAI's error envelope, all four keys always. */
import type { Refusal } from "./refusal.ts";

export type ErrorType = "invalid_request_error" | "server_error";

export interface ErrorEnvelope {
  readonly error: {
    readonly message: string;
    readonly type: ErrorType;
    readonly param: string | null;
    readonly code: string | null;
  };
}

export function toErrorEnvelope(type: ErrorType, { message, param, code }: Refusal): ErrorEnvelope {
  return { error: { message, type, param, code } };
}
