/** One wide JSON line per event: a request, a dispatch, a status change. Ids and counts, never keys or texts. */

export type LogFields = Readonly<Record<string, string | number | boolean | null>>;

export function logEvent(event: string, fields: LogFields): void {
  console.log(JSON.stringify({ event, ...fields }));
}

export function logFailure(event: string, fields: LogFields, error: unknown): void {
  console.error(JSON.stringify({ event, ...fields, error: describeError(error) }));
}

/** What the engine could not parse, it quotes; and that may be a prompt. */
function describeError(error: unknown): string {
  if (error instanceof SyntaxError) return "SyntaxError";
  return error instanceof Error ? error.message : String(error);
}
