/** OpenAI's error envelope, all four keys always. */

export type ErrorType = "invalid_request_error" | "server_error";

export interface ErrorEnvelope {
  readonly error: {
    readonly message: string;
    readonly type: ErrorType;
    readonly param: string | null;
    readonly code: string | null;
  };
}
