/** Decides over every call of a binding: it goes through, fails, succeeds without its answer, or is the caller's last. */
import { AsyncLocalStorage } from "node:async_hooks";

/**
 * `before`: the call fails and has no effect. `after`: it has its effect, and fails all the same. `crash`: it has
 * its effect, and its caller dies.
 */
export type Fault = "before" | "after" | "crash";

export interface Call {
  /** Such as `bucket.put`. */
  readonly site: string;
  /** Who calls. */
  readonly side: Side;
  /** 1 for the first call of this side at this site. */
  readonly number: number;
  readonly at: number;
}

export type Side = "coordinator" | "pacer" | "consumer" | "http" | "sweep";

export type FaultPlan = (call: Call) => Fault | null;

/** From the start of a consumer to its death. A dead one has no effect any more, and learns of none. */
export class ConsumerLifetime {
  /** Of its dispatches: the one that the queue brought, and those that it took on beside it. */
  readonly tokens = new Set<string>();
  #isOver = false;

  /** @param token of the dispatch that the queue brought; null for a message without work. */
  constructor(token: string | null) {
    if (token !== null) this.tokens.add(token);
  }

  isOver(): boolean {
    return this.#isOver;
  }

  end(): void {
    this.#isOver = true;
  }
}

export const consumerLifetime = new AsyncLocalStorage<ConsumerLifetime>();

export class Injector {
  readonly calls: Call[] = [];
  readonly #plan: FaultPlan;
  readonly #onCrash: (side: Side) => void;
  readonly #numbers = new Map<string, number>();
  readonly #pending = new Set<Call>();
  #faults = 0;
  #lastFaultAt = 0;

  constructor(plan: FaultPlan, onCrash: (side: Side) => void) {
    this.#plan = plan;
    this.#onCrash = onCrash;
  }

  /** Calls under way. */
  get pending(): number {
    return this.#pending.size;
  }

  describePending(): string {
    const pending = [...this.#pending].map(({ side, site, number }) => `${side} ${site} ${number}`);
    return pending.join(", ") || "no call of a binding";
  }

  /** Calls of a side that has died have no end. */
  forget(side: Side): void {
    for (const call of this.#pending) if (call.side === side) this.#pending.delete(call);
  }

  get faults(): number {
    return this.#faults;
  }

  /** 0 when there was none. Calls that fail five times in a row may do so for minutes: the pauses grow to one. */
  get lastFaultAt(): number {
    return this.#lastFaultAt;
  }

  async call<Value>(side: Side, site: string, effect: () => Promise<Value>): Promise<Value> {
    const lifetime = consumerLifetime.getStore();
    if (lifetime?.isOver() === true) return never();
    const number = (this.#numbers.get(`${side} ${site}`) ?? 0) + 1;
    this.#numbers.set(`${side} ${site}`, number);
    const call = { site, side, number, at: Date.now() };
    this.calls.push(call);
    const fault = this.#plan(call);
    if (fault !== null) {
      this.#faults += 1;
      this.#lastFaultAt = call.at;
    }
    this.#pending.add(call);
    const end = await settle(effect, fault).finally(() => {
      this.#pending.delete(call);
    });
    if (fault === "crash") {
      lifetime?.end();
      this.#onCrash(side);
      return never();
    }
    if (lifetime?.isOver() === true) return never();
    if (fault !== null) throw new Error(`injected: ${side} ${site} ${number}`);
    if (!end.ok) throw end.error;
    return end.value;
  }
}

type End<Value> = { readonly ok: true; readonly value: Value } | { readonly ok: false; readonly error: unknown };

async function settle<Value>(effect: () => Promise<Value>, fault: Fault | null): Promise<End<Value>> {
  if (fault === "before") return { ok: false, error: null };
  try {
    return { ok: true, value: await effect() };
  } catch (error) {
    return { ok: false, error };
  }
}

function never<Value>(): Promise<Value> {
  return new Promise(() => {});
}
