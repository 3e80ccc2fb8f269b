/** One try of one line, as it goes to an upstream. */
export interface UpstreamRequest {
  /** The line's `url`, such as `/v1/chat/completions`. */
  readonly endpoint: string;
  /** JSON text, sent as it is. */
  readonly body: string;
  /** Names the line over all its tries (`batch_…-1` is the first line of its file), in visible ASCII: goes along for tracing and idempotency. */
  readonly requestKey: string;
  /** 1 for the first try. */
  readonly attempt: number;
  /** the guest's own key, in place of the configured one; null to use that. */
  readonly apiKey: string | null;
  /** Called once before a large answer is read; resolves when there is room for that many bytes. */
  readonly reserve: (bytes: number) => Promise<void>;
}
