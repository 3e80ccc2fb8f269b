/** What a dispatch knows of its upstream: by the coordinator's last reply, and by what was answered here since. */
import type { AnswerClass } from "../domain/answer-class.ts";
import { PressureGate } from "../domain/pressure-gate.ts";
import type { UpstreamStanding } from "../domain/retry-policy.ts";

export interface SeenAnswer {
  readonly class: AnswerClass;
  readonly hasSucceeded: boolean;
  /** The line fails by itself, which says nothing of the upstream. */
  readonly isSuspect: boolean;
  readonly now: Date;
}

export class UpstreamView {
  #standing: UpstreamStanding;
  /** Closed while the upstream takes nothing. */
  readonly #gate = new PressureGate();

  constructor(standing: UpstreamStanding) {
    this.#standing = standing;
  }

  get standing(): UpstreamStanding {
    return this.#standing;
  }

  get gate(): Pick<PressureGate, "isOpen" | "opensAt" | "allowance"> {
    return this.#gate;
  }

  /** @param slots of the dispatch. */
  observe({ class: answerClass, hasSucceeded, isSuspect, now }: SeenAnswer, slots: number): void {
    const isFine = answerClass === "fine";
    const hasServed = this.#standing.hasServed || hasSucceeded;
    if (isFine) this.#standing = { ...this.#standing, servedAt: now.getTime(), hasServed };
    if (isFine || !isSuspect) this.#gate.observe(isFine ? "fine" : "pressure", slots, now.getTime());
  }

  learn(told: UpstreamStanding): void {
    const { servedAt, hasServed } = this.#standing;
    const latest = Math.max(told.servedAt ?? 0, servedAt ?? 0);
    this.#standing = { ...told, servedAt: latest === 0 ? null : latest, hasServed: told.hasServed || hasServed };
  }
}
