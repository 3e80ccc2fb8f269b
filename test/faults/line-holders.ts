/**
 * Which consumers had each line, and which of them it killed: seen from outside, as the coordinator's replies and the
 * upstream's calls show it. The rules are those of src/domain/line-state.ts.
 */
import type { ClaimReply, ReportReply } from "../../src/domain/conversation.ts";
import type { ConsumerLifetime } from "./injector.ts";

/** A line that has killed this many consumers runs alone. */
const DEATHS_UNTIL_ALONE = 2;
/** And after this many it is settled. */
export const DEATHS_UNTIL_LOST = 4;

export class LineHolders {
  /** By token: lines that a dispatch was given. */
  readonly #given = new Map<string, Set<number>>();
  /** By `batch line`: tokens of the dispatches that had it. */
  readonly #holders = new Map<string, Set<string>>();
  /** By `batch line`: how many consumers it has killed. */
  readonly #kills = new Map<string, number>();
  /** By `batch line`: how many consumers that had it were killed by a line. */
  readonly #deaths = new Map<string, number>();
  /** By `batch line`: the consumer that heard its answer. */
  readonly #served = new Map<string, ConsumerLifetime>();
  /** Lines that were sent again, although a consumer that lives has their answer. */
  readonly resent = new Set<number>();
  #lastKillAt = 0;

  noteReply(batchId: string, token: string, reply: ClaimReply | ReportReply): void {
    if (reply.kind !== "run") return;
    for (const { line } of reply.slices.flatMap(({ lines }) => lines)) {
      addTo(this.#given, token, line);
      addTo(this.#holders, `${batchId} ${line}`, token);
    }
  }

  noteSuccess(batchId: string, line: number, consumer: ConsumerLifetime): void {
    this.#served.set(`${batchId} ${line}`, consumer);
  }

  noteSent(batchId: string, line: number): void {
    if (this.#served.get(`${batchId} ${line}`)?.isOver() === false) this.resent.add(line);
  }

  /** @param tokens of the consumer's dispatches. @returns the rule that was broken by it; null: none. */
  noteKill(batchId: string, line: number, tokens: ReadonlySet<string>): string | null {
    const kills = this.killsOf(batchId, line) + 1;
    this.#kills.set(`${batchId} ${line}`, kills);
    this.#lastKillAt = Date.now();
    for (const other of [...tokens].flatMap((token) => [...(this.#given.get(token) ?? [])])) {
      this.#deaths.set(`${batchId} ${other}`, this.deathsWith(batchId, other) + 1);
    }
    if (kills > DEATHS_UNTIL_LOST) return `line ${line} killed ${kills} consumers`;
    const given = [...tokens].reduce((lines, token) => lines + (this.#given.get(token)?.size ?? 0), 0);
    const others = Math.max(0, given - 1);
    if (kills <= DEATHS_UNTIL_ALONE || others === 0) return null;
    return `line ${line} killed ${kills} consumers, and the last had ${others} other lines`;
  }

  get kills(): number {
    return [...this.#kills.values()].reduce((sum, kills) => sum + kills, 0);
  }

  /** 0 when there was none. */
  get lastKillAt(): number {
    return this.#lastKillAt;
  }

  killsOf(batchId: string, line: number): number {
    return this.#kills.get(`${batchId} ${line}`) ?? 0;
  }

  /** Those that another line killed included. */
  deathsWith(batchId: string, line: number): number {
    return this.#deaths.get(`${batchId} ${line}`) ?? 0;
  }

  holdersOf(batchId: string, line: number): number {
    return this.#holders.get(`${batchId} ${line}`)?.size ?? 0;
  }
}

function addTo<Key, Value>(sets: Map<Key, Set<Value>>, key: Key, value: Value): void {
  const set = sets.get(key) ?? new Set();
  set.add(value);
  sets.set(key, set);
}
