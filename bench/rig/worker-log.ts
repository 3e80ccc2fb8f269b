/** The Worker's own log lines (src/log.ts), as they come out of `wrangler dev`, each with its time of arrival. */

export interface LogLine {
  readonly at: number;
  readonly event: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

const FINAL_STATUSES: ReadonlySet<unknown> = new Set(["completed", "failed", "expired", "cancelled"]);

export class WorkerLog {
  readonly #lines: LogLine[] = [];
  #waiting: { readonly isAwaited: (line: LogLine) => boolean; readonly resolve: (line: LogLine) => void }[] = [];
  #rest = "";

  add(text: string): void {
    const at = performance.now();
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop() ?? "";
    for (const line of lines) {
      const fields = parseFields(line);
      if (fields !== null) this.#keep({ at, event: String(fields["event"]), fields });
    }
  }

  /** Resolves when the log says so: asking the service again and again would slow down what is measured. */
  until(batchId: string, status: string): Promise<LogLine> {
    return this.#until(batchId, (said) => said === status);
  }

  untilFinal(batchId: string): Promise<LogLine> {
    return this.#until(batchId, (said) => FINAL_STATUSES.has(said));
  }

  of(event: string, batchId: string): readonly LogLine[] {
    return this.#lines.filter((line) => line.event === event && line.fields["batch"] === batchId);
  }

  /** Over all dispatches of a batch. */
  sumOfDispatches(batchId: string, field: string): number {
    return this.of("dispatch", batchId).reduce((sum, { fields }) => sum + Number(fields[field] ?? 0), 0);
  }

  #until(batchId: string, isAwaited: (status: unknown) => boolean): Promise<LogLine> {
    const matches = ({ event, fields }: LogLine) =>
      event === "batch_status" && fields["batch"] === batchId && isAwaited(fields["status"]);
    const known = this.#lines.find(matches);
    if (known !== undefined) return Promise.resolve(known);
    const { promise, resolve } = Promise.withResolvers<LogLine>();
    this.#waiting.push({ isAwaited: matches, resolve });
    return promise;
  }

  #keep(line: LogLine): void {
    this.#lines.push(line);
    const [served, waiting] = [this.#waiting.filter(({ isAwaited }) => isAwaited(line)), this.#waiting];
    this.#waiting = waiting.filter((one) => !served.includes(one));
    for (const { resolve } of served) resolve(line);
  }
}

function parseFields(line: string): Record<string, unknown> | null {
  if (!line.startsWith('{"event":')) return null;
  try {
    return JSON.parse(line) as Record<string, unknown>;
  } catch {
    return null;
  }
}
