/** The echo upstream's moderations: it flags nothing, with small scores that follow from the input. */
import { createHash } from "node:crypto";
import { type EchoRequest, inputsOf, modelOf, textOf } from "./echo-request.ts";

/** platform.openai.com/docs/guides/moderation#content-classifications */
const CATEGORIES = [
  "harassment",
  "harassment/threatening",
  "hate",
  "hate/threatening",
  "illicit",
  "illicit/violent",
  "self-harm",
  "self-harm/instructions",
  "self-harm/intent",
  "sexual",
  "sexual/minors",
  "violence",
  "violence/graphic",
] as const;

type Category = (typeof CATEGORIES)[number];

/** Below every threshold anybody would set. */
const MAX_SCORE = 0.01;

export function moderation(request: EchoRequest) {
  return {
    id: `modr-${request.digest.slice(0, 29)}`,
    model: modelOf(request, "omni-moderation-latest"),
    results: inputsOf(request.body["input"]).map(resultOf),
  };
}

function resultOf(input: unknown) {
  const noise = createHash("sha256").update(textOf(input)).digest();
  return {
    flagged: false,
    categories: byCategory(() => false),
    category_scores: byCategory((index) => ((noise[index] ?? 0) / 256) * MAX_SCORE),
    category_applied_input_types: byCategory(() => ["text" as const]),
  };
}

function byCategory<Value>(make: (index: number) => Value): Record<Category, Value> {
  return Object.fromEntries(CATEGORIES.map((category, index) => [category, make(index)])) as Record<Category, Value>;
}
