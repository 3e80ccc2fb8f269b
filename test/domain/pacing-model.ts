/**
 * Coordinators and their pacer as a model for the properties of pacing: statements, answers and grants travel as messages
 * that may be late or lost, and either side may restart at any time. A coordinator of the model uses all that it may.
 */
import { type AnswersHeard, joinHeard, NOTHING_HEARD } from "../../src/domain/breaker.ts";
import type { Grant, Statement } from "../../src/domain/grant.ts";
import { allowedBy } from "../../src/domain/in-flight-limit.ts";
import { Pacing, type PacingMemory } from "../../src/domain/pacing.ts";
import type { PacedUpstream } from "../../src/domain/upstream-bearing.ts";
import { NO_LIMITS, NOTHING_BEGUN } from "../support/no-budget.ts";
import { planShares } from "../../src/domain/upstream-share.ts";

const TOLD_AT_ONCE = 3;
/** Members of an earlier life are waited for this long. */
const RECOVERS_FOR_MS = 30_000;

export interface Coordinator {
  readonly id: string;
  /** Counts its restarts. */
  life: number;
  grant: Grant | null;
  /** What it goes by before the first grant. */
  firstLines: number;
  heldLines: number;
  runnableLines: number;
  heard: AnswersHeard;
  isTelling: boolean;
  /** Statements that it has made. */
  statements: number;
}

/** Under way. `life` is that of the receiver when it was sent. */
type Message =
  | { readonly kind: "statement"; readonly statement: Statement; readonly from: number; readonly life: number }
  | { readonly kind: "answer"; readonly to: string; readonly grant: Grant; readonly life: number }
  | { readonly kind: "push"; readonly to: string; readonly grant: Grant | null; readonly pacer: number }
  | {
      readonly kind: "reply";
      readonly of: string;
      readonly statement: Statement | null;
      readonly life: number;
    };

export class PacingModel {
  now = 1_000_000;
  readonly coordinators = new Map<string, Coordinator>();
  messages: Message[] = [];
  pacing: Pacing;
  readonly #upstream: PacedUpstream;
  readonly #known = new Set<string>();
  readonly #told = new Set<string>();
  readonly #probed = new Set<string>();
  #memory: PacingMemory | null = null;
  #life = 0;
  #startedAt = 0;
  #joined = 0;

  constructor(upstream: Omit<PacedUpstream, "limits">) {
    this.#upstream = { ...upstream, limits: NO_LIMITS };
    this.pacing = this.#startPacing();
  }

  /** Lines in flight, or that could be by what coordinators believe to have. */
  get exposedLines(): number {
    return sum([...this.coordinators.values()].map((one) => Math.max(one.heldLines, believedLines(one))));
  }

  /** Batches that may have a line because they were to probe: what others had before the pause may be in flight still. */
  get probes(): number {
    return this.#probed.size;
  }

  /** What each coordinator goes by. */
  get beliefs(): ReadonlyMap<string, number> {
    return new Map([...this.coordinators].map(([id, one]) => [id, believedLines(one)]));
  }

  /** What each should have when all is known. */
  get shares(): ReadonlyMap<string, number> {
    const { maxInFlight, linesPerInvocation } = this.#upstream;
    const running = [...this.coordinators.values()]
      .map(({ id, runnableLines }) => ({ id, runnableLines, unsettledLines: runnableLines }))
      .toSorted((a, b) => (a.id < b.id ? -1 : 1));
    const lines = Math.min(maxInFlight, allowedBy(this.pacing.memory.limit));
    const shares = planShares({ lines, linesPerInvocation, running });
    return new Map(running.map(({ id }) => [id, shares.get(id) ?? 0]));
  }

  pick(index: number): Coordinator | undefined {
    return [...this.coordinators.values()][index % Math.max(1, this.coordinators.size)];
  }

  join(runnableLines: number): Coordinator {
    this.#joined += 1;
    const id = `batch-${String(this.#joined).padStart(4, "0")}`;
    const coordinator = {
      id,
      life: 0,
      grant: null,
      firstLines: 0,
      heldLines: 0,
      runnableLines,
      heard: NOTHING_HEARD,
      isTelling: false,
      statements: 0,
    };
    this.coordinators.set(id, coordinator);
    return coordinator;
  }

  /** Its last words may be lost like others: `silently`, they are never said. */
  leave({ id }: Coordinator, how: "silently" | "saying so"): void {
    const coordinator = this.coordinators.get(id);
    if (coordinator === undefined) return;
    if (how === "saying so") {
      coordinator.heldLines = 0;
      coordinator.runnableLines = 0;
      this.#send(coordinator, true);
    }
    this.coordinators.delete(id);
  }

  /** From none to all that it may have are in flight. */
  use(coordinator: Coordinator, fraction: number): void {
    coordinator.heldLines = Math.round(Math.max(coordinator.heldLines, believedLines(coordinator)) * fraction);
  }

  hearAnswers(coordinator: Coordinator, heard: Partial<AnswersHeard>): void {
    coordinator.heard = joinHeard(coordinator.heard, { ...NOTHING_HEARD, ...heard });
  }

  say(coordinator: Coordinator): void {
    if (coordinator.isTelling) return;
    coordinator.isTelling = true;
    this.#send(coordinator, false);
  }

  deliver(index: number): void {
    const message = this.#takeMessage(index);
    if (message?.kind === "statement") this.#deliverStatement(message);
    else if (message?.kind === "answer") this.#deliverAnswer(message);
    else if (message?.kind === "push") this.#deliverPush(message);
    else if (message?.kind === "reply") this.#deliverReply(message);
  }

  lose(index: number): void {
    const message = this.#takeMessage(index);
    if (message?.kind === "statement") this.#failTelling(message.statement.batchId, message.from);
    else if (message?.kind === "answer") this.#failTelling(message.to, message.life);
    else if (message?.kind === "push") this.#failPush(message.to, message.pacer);
    else if (message?.kind === "reply") this.#failPush(message.of, message.life);
  }

  /** What was under way to the pacer is lost with it; what it had sent itself may still arrive. */
  restartPacer(): void {
    this.#memory = this.pacing.memory;
    this.#told.clear();
    this.pacing = this.#startPacing();
    for (const message of this.messages.filter(({ kind }) => kind === "statement")) {
      if (message.kind === "statement") this.#failTelling(message.statement.batchId, message.from);
    }
    this.messages = this.messages.filter(({ kind }) => kind === "answer" || kind === "push");
  }

  /** What was under way to it is lost. */
  restartCoordinator(coordinator: Coordinator): void {
    const { id } = coordinator;
    for (let index = this.messages.length - 1; index >= 0; index -= 1) {
      const message = this.messages[index];
      if ((message?.kind === "answer" || message?.kind === "push") && message.to === id) this.lose(index);
    }
    Object.assign(coordinator, { grant: null, firstLines: coordinator.heldLines, heard: NOTHING_HEARD });
    coordinator.life += 1;
    coordinator.isTelling = false;
  }

  /** Within the time for which a restarted pacer waits, all who are there have said something, and late grants are lost. */
  wait(ms: number): void {
    const isRecovered = this.now >= this.#startedAt + RECOVERS_FOR_MS;
    if (!isRecovered && this.now + ms >= this.#startedAt + RECOVERS_FOR_MS) this.#recover();
    this.now += ms;
    this.tellOthers();
  }

  tellOthers(): void {
    const now = new Date(this.now);
    for (const id of this.pacing.findUnheard()) this.#push(id, null);
    const isBusy = (id: string) => this.#told.has(id);
    for (const [id, grant] of this.pacing.takeUrgent(now, isBusy, TOLD_AT_ONCE - this.#told.size)) {
      this.#push(id, grant);
    }
  }

  /** Messages are lost no more, and arrive in the order in which they were sent; all say what they have, and use it. */
  calmDown(rounds: number): void {
    while (this.messages.length > 0) this.deliver(0);
    // No pacer waits any more for batches that it may not know.
    this.now += 30_000;
    for (const coordinator of this.coordinators.values()) this.hearAnswers(coordinator, { fine: 1, succeeded: 1 });
    for (let round = 0; round < rounds; round += 1) {
      while (this.messages.length > 0) this.deliver(0);
      this.now += 1000;
      for (const coordinator of this.coordinators.values()) {
        coordinator.heldLines = Math.min(believedLines(coordinator), coordinator.runnableLines);
        this.say(coordinator);
      }
      while (this.messages.length > 0) this.deliver(0);
      for (const id of this.#known) if (!this.coordinators.has(id)) this.#forget(id);
      this.tellOthers();
    }
    while (this.messages.length > 0) this.deliver(0);
  }

  #recover(): void {
    for (const coordinator of this.coordinators.values()) {
      this.#loseEarlier(coordinator.id);
      if (this.pacing.has(coordinator.id)) this.#hear(describe(coordinator, false));
    }
  }

  #startPacing(): Pacing {
    this.#life += 1;
    this.#startedAt = this.now;
    const life = { id: lifeName(this.#life), startedAt: new Date(this.now) };
    return new Pacing(life, this.#upstream, { memory: this.#memory, batchIds: [...this.#known] });
  }

  #send(coordinator: Coordinator, isOver: boolean): void {
    const statement = describe(coordinator, isOver);
    this.messages.push({ kind: "statement", statement, from: coordinator.life, life: this.#life });
  }

  #takeMessage(index: number): Message | undefined {
    return this.messages.splice(index % Math.max(1, this.messages.length), 1)[0];
  }

  #hear(statement: Statement): void {
    const { batchId, isOver } = statement;
    this.pacing.hear(statement, new Date(this.now));
    if (isOver) this.#known.delete(batchId);
    else this.#known.add(batchId);
  }

  #forget(batchId: string): void {
    this.pacing.drop(batchId);
    this.#known.delete(batchId);
  }

  #deliverStatement({ statement, from }: Extract<Message, { kind: "statement" }>): void {
    const to = statement.batchId;
    this.#hear(statement);
    const grant = this.pacing.grantTo(to, new Date(this.now));
    this.#noteProbe(to, grant);
    this.messages.push({ kind: "answer", to, grant, life: from });
    this.tellOthers();
    const coordinator = this.coordinators.get(to);
    if (coordinator?.life === from) coordinator.heard = NOTHING_HEARD;
  }

  #deliverAnswer({ to, grant, life }: Extract<Message, { kind: "answer" }>): void {
    const coordinator = this.coordinators.get(to);
    if (coordinator?.life !== life) return;
    coordinator.isTelling = false;
    this.#take(coordinator, grant);
  }

  #noteProbe(to: string, grant: Grant): void {
    if (grant.pause !== null && grant.lines > 0) this.#probed.add(to);
  }

  #push(to: string, grant: Grant | null): void {
    if (this.#told.has(to) || this.#told.size >= TOLD_AT_ONCE) return;
    if (grant !== null) this.#noteProbe(to, grant);
    this.#told.add(to);
    this.messages.push({ kind: "push", to, grant, pacer: this.#life });
  }

  #deliverPush({ to, grant, pacer }: Extract<Message, { kind: "push" }>): void {
    const coordinator = this.coordinators.get(to);
    if (coordinator !== undefined && grant !== null) this.#take(coordinator, grant);
    if (pacer === this.#life) this.#loseEarlier(to);
    const statement = coordinator === undefined ? null : describe(coordinator, false);
    if (coordinator !== undefined) coordinator.heard = NOTHING_HEARD;
    if (pacer === this.#life) this.messages.push({ kind: "reply", of: to, statement, life: pacer });
  }

  #deliverReply({ of, statement, life }: Extract<Message, { kind: "reply" }>): void {
    if (life !== this.#life) return;
    if (statement === null) this.#forget(of);
    else this.#hear(statement);
    this.#told.delete(of);
    this.tellOthers();
  }

  /** As src/batch/pacer-link.ts does. */
  #take(coordinator: Coordinator, grant: Grant): void {
    const known = coordinator.grant;
    if (known !== null && known.life === grant.life && known.number > grant.number) return;
    const lines = known !== null && isSame(known, grant) ? Math.min(known.lines, grant.lines) : grant.lines;
    coordinator.grant = { ...grant, lines };
    if (grant.life === lifeName(this.#life)) this.#loseEarlier(coordinator.id);
  }

  /** What a pacer said before it restarted arrives before what it says afterwards, or never. */
  #loseEarlier(to: string): void {
    const isEarlier = (message: Message) =>
      (message.kind === "push" && message.to === to && message.pacer !== this.#life) ||
      (message.kind === "answer" && message.to === to && message.grant.life !== lifeName(this.#life));
    for (const message of this.messages.filter(isEarlier)) this.lose(this.messages.indexOf(message));
  }

  #failTelling(id: string, life: number): void {
    const coordinator = this.coordinators.get(id);
    if (coordinator?.life === life) coordinator.isTelling = false;
  }

  #failPush(id: string, life: number): void {
    if (life !== this.#life) return;
    this.pacing.noteUnreachable(id);
    this.#told.delete(id);
    this.tellOthers();
  }
}

function sum(lines: Iterable<number>): number {
  return [...lines].reduce((all, more) => all + more, 0);
}

function lifeName(life: number): string {
  return `life ${life}`;
}

function isSame(one: Grant, another: Grant): boolean {
  return one.life === another.life && one.number === another.number;
}

function believedLines({ grant, firstLines }: Coordinator): number {
  return grant?.lines ?? firstLines;
}

function describe(coordinator: Coordinator, isOver: boolean): Statement {
  coordinator.statements += 1;
  // From here on it has no more than it could use: others may have the rest.
  if (coordinator.grant !== null) {
    coordinator.grant = { ...coordinator.grant, lines: Math.min(coordinator.grant.lines, coordinator.runnableLines) };
  }
  const { id: batchId, statements: number, grant, runnableLines, heard } = coordinator;
  // What it had before a restart is its own until it has a grant, used or not.
  const heldLines = Math.max(coordinator.heldLines, grant === null ? coordinator.firstLines : 0);
  return {
    batchId,
    number,
    unsettledLines: runnableLines,
    runnableLines,
    heldLines,
    grant,
    heard,
    budget: NOTHING_BEGUN,
    isOver,
  };
}
