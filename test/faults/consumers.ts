/** The consumers of a fault run: each delivery of the queue gets one, which may die at any moment. */
import { createExecutionContext } from "cloudflare:test";
import { consumeQueue } from "../../src/queue/consumer.ts";
import type { Random } from "../support/random.ts";
import { type Delivery, type DispatchQueue, messageBatchOf } from "./dispatch-queue.ts";
import { ConsumerLifetime, consumerLifetime } from "./injector.ts";
import type { RunRules } from "./run-rules.ts";

interface Consumer {
  readonly lifetime: ConsumerLifetime;
  readonly delivery: Delivery;
}

export class Consumers {
  readonly #queue: DispatchQueue;
  readonly #rules: RunRules;
  readonly #running = new Set<Consumer>();
  #deaths = 0;

  constructor(queue: DispatchQueue, rules: RunRules) {
    this.#queue = queue;
    this.#rules = rules;
  }

  /** How many were killed; those that a call or a line of theirs ended are not counted. */
  get deaths(): number {
    return this.#deaths;
  }

  async consume(delivery: Delivery, consumerEnv: Env): Promise<void> {
    const consumer: Consumer = { lifetime: new ConsumerLifetime(tokenOf(delivery)), delivery };
    const { batch, verdict } = messageBatchOf(delivery);
    this.#running.add(consumer);
    try {
      await consumerLifetime.run(consumer.lifetime, () => consumeQueue(batch, consumerEnv, createExecutionContext()));
    } catch (error) {
      this.#rules.broken(`a consumer threw: ${String(error)}`);
    }
    this.#running.delete(consumer);
    if (verdict.said === null) this.#rules.broken("a consumer said nothing of its message");
    else if (verdict.said === "ack") this.#queue.acknowledge(delivery);
    else this.#queue.retry(delivery, verdict.said.retryAfterMs);
  }

  killOne(random: Random): void {
    const running = [...this.#running];
    const chosen = running[random.between(0, Math.max(0, running.length - 1))];
    if (chosen === undefined) return;
    this.#deaths += 1;
    chosen.lifetime.end();
  }

  /** The queue learns which consumers are dead. */
  redeliver(): void {
    for (const consumer of this.#running) {
      if (!consumer.lifetime.isOver()) continue;
      this.#running.delete(consumer);
      this.#queue.retry(consumer.delivery);
    }
  }

  endAll(): void {
    for (const { lifetime } of this.#running) lifetime.end();
  }
}

function tokenOf({ body }: Delivery): string | null {
  return "token" in body ? body.token : null;
}
