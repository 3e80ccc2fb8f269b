/** The echo upstream's embeddings: unit vectors that follow from the text alone, so equal texts have equal vectors. */
import { createHash } from "node:crypto";
import { MAX_ANSWER_BYTES } from "../domain/limits.ts";
import { countTokens, type EchoRequest, inputsOf, modelOf, textOf } from "./echo-request.ts";

/** As OpenAI's text-embedding-3-small. */
const DEFAULT_DIMENSIONS = 1536;
const MAX_DIMENSIONS = 4096;
/** One number of a vector in the answer, more or less. */
const BYTES_PER_NUMBER = 12;
const DECIMALS = 1e8;

/** What is wrong with a request for embeddings; null when it can be answered. */
export function findEmbeddingProblem({ body }: EchoRequest): { message: string; param: string } | null {
  const dimensions = body["dimensions"] ?? DEFAULT_DIMENSIONS;
  if (
    typeof dimensions !== "number" ||
    !Number.isInteger(dimensions) ||
    dimensions < 1 ||
    dimensions > MAX_DIMENSIONS
  ) {
    return { message: `'dimensions' must be a whole number from 1 to ${MAX_DIMENSIONS}.`, param: "dimensions" };
  }
  if (inputsOf(body["input"]).length * dimensions * BYTES_PER_NUMBER > MAX_ANSWER_BYTES) {
    return { message: "These inputs have more numbers than fit into one answer.", param: "input" };
  }
  return null;
}

/** Only for requests without a problem. */
export function embeddings(request: EchoRequest) {
  const { dimensions, encoding_format: format } = request.body;
  const length = typeof dimensions === "number" ? dimensions : DEFAULT_DIMENSIONS;
  const inputs = inputsOf(request.body["input"]);
  let tokens = 0;
  for (const input of inputs) tokens += countInputTokens(input);
  return {
    object: "list" as const,
    data: inputs.map((input, index) => {
      const vector = vectorOf(input, length);
      return { object: "embedding" as const, index, embedding: format === "base64" ? toBase64(vector) : vector };
    }),
    model: modelOf(request, "echo"),
    usage: { prompt_tokens: tokens, total_tokens: tokens },
  };
}

function countInputTokens(input: unknown): number {
  return Array.isArray(input) ? input.length : countTokens(textOf(input));
}

/** Not by JSON.stringify, which overflows the stack on deep nesting. */
function sourceOf(input: unknown): string {
  return Array.isArray(input) ? input.filter((part) => typeof part === "number").join(" ") : textOf(input);
}

function vectorOf(input: unknown, length: number): number[] {
  const seed = createHash("sha256").update(sourceOf(input)).digest();
  let state = seed.readUInt32LE(0);
  let squares = 0;
  const vector: number[] = [];
  for (let index = 0; index < length; index += 1) {
    // A linear congruential generator (Numerical Recipes): good enough for numbers that mean nothing.
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    const value = state / 2 ** 31 - 1;
    squares += value * value;
    vector.push(value);
  }
  const norm = Math.sqrt(squares) || 1;
  return vector.map((value) => Math.round((value / norm) * DECIMALS) / DECIMALS);
}

/** Little-endian float32, as OpenAI sends it. */
function toBase64(vector: readonly number[]): string {
  return new Uint8Array(Float32Array.from(vector).buffer).toBase64();
}
