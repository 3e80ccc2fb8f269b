/**
 * The verdict over a whole input file, line by line: every bad line is reported, duplicates are found, and
 * the offsets of good lines are kept so that the file can be cut into slices. Holds no line. No I/O.
 */
import type { LineProblem } from "../domain/batch.ts";
import type { ByteLine } from "../domain/jsonl.ts";
import { MAX_EMBEDDING_INPUTS, MAX_LISTED_PROBLEMS } from "../domain/limits.ts";
import { ok, refuse, type Result } from "../domain/result.ts";
import { EMPTY_FILE, moreErrors, tooManyEmbeddingInputs, tooManyRequests } from "./batch-problems.ts";
import type { Problem } from "./refusal.ts";
import {
  duplicateCustomId,
  LINE_TOO_LONG,
  type LineRules,
  parseRequestLine,
  UNPARSEABLE_LINE,
} from "./request-line.ts";

export interface AcceptedInput {
  /** Offset of each line's first byte. */
  readonly lineStarts: readonly number[];
  /** Offset behind the last line. */
  readonly end: number;
  readonly model: string | null;
}

export interface InputRules extends LineRules {
  readonly maxLines: number;
  /** Shortens a long custom_id to a key of 44 characters that is as unique; so a set of them stays small. */
  readonly digest: (text: string) => string;
}

const LONGEST_PLAIN_KEY = 44;
/** Ours: the batch shows its model, and must fit a row. What is longer is for the upstream to refuse. */
const LONGEST_KEPT_MODEL = 256;

export class InputCheck {
  readonly #rules: InputRules;
  readonly #decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  readonly #customIds = new Set<string>();
  readonly #lineStarts: number[] = [];
  readonly #problems: LineProblem[] = [];
  #unlisted = 0;
  #lines = 0;
  #blankLines = 0;
  #end = 0;
  #embeddingInputs = 0;
  #model: string | null | undefined;

  constructor(rules: InputRules) {
    this.#rules = rules;
  }

  addLine(line: ByteLine): void {
    const text = this.#decode(line);
    if (text?.trim() === "") {
      this.#blankLines += 1;
      return;
    }
    this.#reportBlankLines();
    this.#lines += 1;
    if (this.#lines > this.#rules.maxLines) return;
    this.#end = line.end;
    this.#lineStarts.push(line.start);
    const problem = this.#findProblem(line, text);
    if (problem !== null) this.#report({ ...problem, line: this.#lines });
  }

  verdict(): Result<AcceptedInput, readonly LineProblem[]> {
    const problems = [...this.#fileProblems(), ...this.#problems];
    if (problems.length > 0) return refuse(this.#capped(problems));
    return ok({ lineStarts: this.#lineStarts, end: this.#end, model: this.#model ?? null });
  }

  /** Null when the line is no UTF-8, or too long to look at. */
  #decode(line: ByteLine): string | null {
    if (line.bytes === null) return null;
    try {
      return this.#decoder.decode(line.bytes);
    } catch {
      return null;
    }
  }

  #findProblem(line: ByteLine, text: string | null): Problem | null {
    if (line.bytes === null) return LINE_TOO_LONG;
    if (text === null) return UNPARSEABLE_LINE;
    const parsed = parseRequestLine(text, this.#rules);
    if (!parsed.ok) return parsed.reason;
    const { customId, model, embeddingInputs } = parsed.value;
    const key = customId.length <= LONGEST_PLAIN_KEY ? customId : `#${this.#rules.digest(customId)}`;
    if (this.#customIds.has(key)) return duplicateCustomId(customId);
    this.#customIds.add(key);
    this.#embeddingInputs += embeddingInputs;
    this.#noteModel(model);
    return null;
  }

  #noteModel(model: string | null): void {
    if (this.#model === undefined) this.#model = model;
    if (this.#model !== model || (model?.length ?? 0) > LONGEST_KEPT_MODEL) this.#model = null;
  }

  /** Blank lines at the end are ignored; those before another line are lines that do not parse. */
  #reportBlankLines(): void {
    for (; this.#blankLines > 0; this.#blankLines -= 1) {
      this.#lines += 1;
      if (this.#lines <= this.#rules.maxLines) this.#report({ ...UNPARSEABLE_LINE, line: this.#lines });
    }
  }

  #report(problem: LineProblem): void {
    if (this.#problems.length < MAX_LISTED_PROBLEMS) this.#problems.push(problem);
    else this.#unlisted += 1;
  }

  #fileProblems(): readonly LineProblem[] {
    if (this.#lines === 0) return [EMPTY_FILE];
    const problems: LineProblem[] = [];
    if (this.#lines > this.#rules.maxLines) problems.push(tooManyRequests(this.#lines, this.#rules.maxLines));
    if (this.#embeddingInputs > MAX_EMBEDDING_INPUTS) problems.push(tooManyEmbeddingInputs(this.#embeddingInputs));
    return problems;
  }

  /** At most MAX_LISTED_PROBLEMS entries, the last one then saying how many more there are. */
  #capped(problems: readonly LineProblem[]): readonly LineProblem[] {
    const total = problems.length + this.#unlisted;
    if (total <= MAX_LISTED_PROBLEMS) return problems;
    const listed = problems.slice(0, MAX_LISTED_PROBLEMS - 1);
    return [...listed, moreErrors(total - listed.length)];
  }
}
