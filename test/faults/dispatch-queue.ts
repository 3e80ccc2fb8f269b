/**
 * The queues of a fault run: at least once, in any order, with retries and dead letters as wrangler.toml sets them.
 * While its faults last it also loses messages, doubles them, is late, and sends them to the dead letters.
 */
import type { QueueMessage } from "../../src/domain/conversation.ts";
import type { Random } from "../support/random.ts";

/** As in wrangler.toml. */
const MAX_RETRIES = 5;
const RETRY_DELAY_MS = 5000;
const MAX_LATENESS_MS = 90_000;

export interface Delivery {
  readonly queue: `nightshift-dispatches${string}` | "nightshift-dead-letters";
  readonly id: number;
  readonly body: QueueMessage;
  readonly attempts: number;
}

export interface QueueFaults {
  readonly until: number;
  readonly loss: number;
  readonly double: number;
  readonly late: number;
  readonly deadLetter: number;
}

export class DispatchQueue {
  readonly #random: Random;
  readonly #faults: QueueFaults;
  readonly #deliverAt: (at: number, delivery: Delivery) => void;
  #sent = 0;
  #faultCount = 0;
  /** Messages that are neither acknowledged nor lost: when each was sent, in ms, and to which queue; the oldest first. */
  readonly #unacknowledged = new Map<number, { readonly queue: number; readonly sentAt: number }>();

  constructor(random: Random, queueFaults: QueueFaults, deliverAt: (at: number, delivery: Delivery) => void) {
    this.#random = random;
    this.#faults = queueFaults;
    this.#deliverAt = deliverAt;
  }

  get faultCount(): number {
    return this.#faultCount;
  }

  /** @param queue counted from 0. */
  send(queue: number, body: QueueMessage): void {
    this.#sent += 1;
    const name = queue === 0 ? ("nightshift-dispatches" as const) : (`nightshift-dispatches-${queue + 1}` as const);
    const delivery: Delivery = { queue: name, id: this.#sent, body, attempts: 1 };
    if (this.#happens(this.#faults.loss)) return;
    this.#unacknowledged.set(delivery.id, { queue, sentAt: Date.now() });
    if (this.#happens(this.#faults.double)) this.#deliver(delivery);
    if (this.#happens(this.#faults.deadLetter)) {
      this.acknowledge(delivery);
      this.#deliver({ ...delivery, queue: "nightshift-dead-letters" });
    } else this.#deliver(delivery);
  }

  /** As documented: of all messages that are not acknowledged, those included that a consumer has. */
  metrics(queue: number): QueueMetrics {
    const own = [...this.#unacknowledged.values()].filter((message) => message.queue === queue);
    const counts = { backlogCount: own.length, backlogBytes: 0 };
    const [oldest] = own;
    return oldest === undefined ? counts : { ...counts, oldestMessageTimestamp: new Date(oldest.sentAt) };
  }

  acknowledge({ id }: Delivery): void {
    this.#unacknowledged.delete(id);
  }

  /** Says what becomes of a delivery that was not acknowledged. */
  retry(delivery: Delivery, delayMs: number = RETRY_DELAY_MS): void {
    const again = { ...delivery, attempts: delivery.attempts + 1 };
    if (delivery.attempts <= MAX_RETRIES) this.#deliverAt(Date.now() + delayMs, again);
    else if (delivery.queue !== "nightshift-dead-letters") {
      this.acknowledge(delivery);
      this.#deliverAt(Date.now(), { ...delivery, queue: "nightshift-dead-letters", attempts: 1 });
    }
  }

  #deliver(delivery: Delivery): void {
    const lateness = this.#happens(this.#faults.late) ? this.#random.between(1, MAX_LATENESS_MS) : 0;
    this.#deliverAt(Date.now() + this.#random.between(1, 200) + lateness, delivery);
  }

  #happens(probability: number): boolean {
    const happens = Date.now() < this.#faults.until && this.#random.chance(probability);
    if (happens) this.#faultCount += 1;
    return happens;
  }
}

/** The message batch of one delivery, and what the consumer made of it: nothing until it said so. */
export function messageBatchOf(delivery: Delivery) {
  const verdict: { said: "ack" | { readonly retryAfterMs: number } | null } = { said: null };
  const message: Message = {
    id: String(delivery.id),
    timestamp: new Date(),
    body: delivery.body,
    attempts: delivery.attempts,
    ack: () => {
      verdict.said = "ack";
    },
    retry: (options) => {
      verdict.said = { retryAfterMs: (options?.delaySeconds ?? RETRY_DELAY_MS / 1000) * 1000 };
    },
  };
  const batch: MessageBatch = {
    queue: delivery.queue,
    messages: [message],
    metadata: { metrics: { backlogCount: 0, backlogBytes: 0 } },
    ackAll: () => message.ack(),
    retryAll: (options) => message.retry(options),
  };
  return { batch, verdict };
}
