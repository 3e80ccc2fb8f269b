import { NOTHING_HEARD } from "../../src/domain/breaker.ts";
import type { Statement } from "../../src/domain/grant.ts";
import { NOTHING_BEGUN } from "./no-budget.ts";

let statements = 0;

/** Of a batch that has nothing in flight, goes by no grant and was answered nothing. Each is later than the one before. */
export function aStatement(batchId: string, runnableLines: number, more: Partial<Statement> = {}): Statement {
  statements += 1;
  return {
    batchId,
    number: statements,
    unsettledLines: runnableLines,
    runnableLines,
    heldLines: 0,
    grant: null,
    heard: NOTHING_HEARD,
    budget: NOTHING_BEGUN,
    isOver: false,
    ...more,
  };
}
