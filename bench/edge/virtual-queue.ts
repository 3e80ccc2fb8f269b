/**
 * A queue with its consumers as the edge has them: at least one delivery, delays, retries, a dead-letter queue,
 * and a limit for invocations at once (developers.cloudflare.com/queues/configuration/consumer-concurrency).
 */
import type { VirtualClock } from "./virtual-clock.ts";

export interface QueueOptions {
  readonly name: string;
  readonly clock: VirtualClock;
  readonly consume: (batch: MessageBatch) => Promise<void>;
  readonly maxConcurrency: number;
  readonly maxRetries: number;
  /** From `send` until a free consumer has it. */
  readonly deliveryMs: number;
  /**
   * `at_once`: all consumers are there from the start. `by_completions`: at first one; each invocation that
   * ends while messages wait allows one more.
   */
  readonly scaling: "at_once" | "by_completions";
  readonly deadLetter: (body: unknown) => void;
}

interface Waiting {
  readonly id: number;
  readonly sentAt: number;
  readonly body: unknown;
  readonly attempts: number;
}

/** What an invocation takes beside its work: a round figure. */
const INVOCATION_MS = 5;

export class VirtualQueue {
  readonly #options: QueueOptions;
  readonly #waiting: Waiting[] = [];
  /** When each message was sent that is not acknowledged, in ms, the oldest first. */
  readonly #unacknowledged = new Map<number, number>();
  #running = 0;
  #allowed: number;
  #sent = 0;
  #deliveries = 0;

  constructor(options: QueueOptions) {
    this.#options = options;
    this.#allowed = options.scaling === "at_once" ? options.maxConcurrency : 1;
  }

  /** Messages that could be delivered and wait for a consumer. */
  get depth(): number {
    return this.#waiting.length;
  }

  get running(): number {
    return this.#running;
  }

  get sent(): number {
    return this.#sent;
  }

  get deliveries(): number {
    return this.#deliveries;
  }

  send(body: unknown): void {
    this.#sent += 1;
    const sentAt = this.#options.clock.now;
    this.#unacknowledged.set(this.#sent, sentAt);
    this.#arrive({ id: this.#sent, sentAt, body, attempts: 1 }, this.#options.deliveryMs);
  }

  /** As documented: of all messages that are not acknowledged, those included that a consumer has. */
  metrics(): QueueMetrics {
    const counts = { backlogCount: this.#unacknowledged.size, backlogBytes: 0 };
    const [oldest] = this.#unacknowledged.values();
    return oldest === undefined ? counts : { ...counts, oldestMessageTimestamp: new Date(oldest) };
  }

  #arrive(message: Waiting, delayMs: number): void {
    const { clock } = this.#options;
    clock.at(clock.now + delayMs, () => {
      this.#waiting.push(message);
      this.#deliver();
    });
  }

  #deliver(): void {
    while (this.#running < this.#allowed) {
      const message = this.#waiting.shift();
      if (message === undefined) return;
      void this.#consume(message);
    }
  }

  async #consume(waiting: Waiting): Promise<void> {
    this.#running += 1;
    this.#deliveries += 1;
    const verdict: { retrySeconds: number | null } = { retrySeconds: null };
    const message: Message = {
      id: String(waiting.id),
      timestamp: new Date(waiting.sentAt),
      body: waiting.body,
      attempts: waiting.attempts,
      ack: () => undefined,
      retry: (options) => {
        verdict.retrySeconds = options?.delaySeconds ?? 0;
      },
    };
    await this.#options.clock.sleep(INVOCATION_MS);
    await this.#options.consume({
      queue: this.#options.name,
      messages: [message],
      metadata: { metrics: this.metrics() },
      ackAll: () => undefined,
      retryAll: () => message.retry(),
    });
    this.#running -= 1;
    if (this.#waiting.length > 0) this.#allowed = Math.min(this.#options.maxConcurrency, this.#allowed + 1);
    if (verdict.retrySeconds === null) this.#unacknowledged.delete(waiting.id);
    else this.#retry(waiting, verdict.retrySeconds);
    this.#deliver();
  }

  #retry(message: Waiting, delaySeconds: number): void {
    if (message.attempts <= this.#options.maxRetries) {
      return this.#arrive({ ...message, attempts: message.attempts + 1 }, delaySeconds * 1000);
    }
    this.#unacknowledged.delete(message.id);
    this.#options.deadLetter(message.body);
  }
}
