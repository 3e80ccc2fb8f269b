/**
 * What the echo upstream answers for each endpoint: objects of OpenAI's shapes, complete enough for the types
 * of its SDKs. It plays a server of that API, hence the snake_case. Everything follows from the body alone;
 * even the times are fixed.
 */
import { embeddings, findEmbeddingProblem } from "./echo-embeddings.ts";
import { moderation } from "./echo-moderation.ts";
import {
  countOf,
  countTokens,
  echoed,
  type EchoRequest,
  lastTextOf,
  modelOf,
  stringOf,
  textOf,
} from "./echo-request.ts";

export interface EchoReply {
  readonly status: number;
  /** The body. */
  readonly text: string;
}

export interface EchoError {
  readonly message: string;
  readonly param?: string;
}

/** 2026-01-01. */
const CREATED_SECONDS = 1_767_225_600;
/** platform.openai.com/docs/api-reference/chat/create#n */
const MAX_CHOICES = 128;
/** platform.openai.com/docs/api-reference/images/create#n */
const MAX_IMAGES = 10;
/** One grey pixel. */
const PNG_BASE64 = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg==";

const REPLIES = new Map<string, (request: EchoRequest) => object>([
  ["/v1/chat/completions", chatCompletion],
  ["/v1/completions", completion],
  ["/v1/embeddings", embeddings],
  ["/v1/responses", response],
  ["/v1/moderations", moderation],
  ["/v1/images/generations", images],
  ["/v1/images/edits", images],
  ["/v1/videos", video],
]);

export function replyTo(request: EchoRequest): EchoReply {
  const reply = REPLIES.get(request.endpoint);
  if (reply === undefined) return errorReply(404, { message: `Invalid URL (POST ${request.endpoint})` });
  const problem = reply === embeddings ? findEmbeddingProblem(request) : null;
  return problem === null ? { status: 200, text: JSON.stringify(reply(request)) } : errorReply(400, problem);
}

export function errorReply(status: number, { message, param }: EchoError): EchoReply {
  const type = status >= 500 ? "server_error" : "invalid_request_error";
  const code = status === 429 ? "rate_limit_exceeded" : null;
  return { status, text: JSON.stringify({ error: { message, type, param: param ?? null, code } }) };
}

export function chatCompletion(request: EchoRequest) {
  const content = lastTextOf(request.body["messages"]);
  const choiceCount = countOf(request, "n", MAX_CHOICES);
  return {
    id: `chatcmpl-${request.digest.slice(0, 29)}`,
    object: "chat.completion" as const,
    created: CREATED_SECONDS,
    model: modelOf(request, "echo"),
    choices: Array.from({ length: choiceCount }, (_, index) => ({
      index,
      message: { role: "assistant" as const, content, refusal: null, annotations: [] },
      logprobs: null,
      finish_reason: "stop" as const,
    })),
    usage: completionUsage(countTokens(textOf(request.body["messages"])), countTokens(content) * choiceCount),
    service_tier: "default" as const,
    system_fingerprint: `fp_${request.digest.slice(0, 10)}`,
  };
}

export function completion(request: EchoRequest) {
  const { prompt } = request.body;
  const isSeveral = Array.isArray(prompt) && prompt.some((part) => typeof part !== "number");
  const prompts: readonly unknown[] = isSeveral ? prompt.slice(0, MAX_CHOICES) : [prompt];
  const texts = prompts.flatMap((each) =>
    Array.from({ length: countOf(request, "n", MAX_CHOICES / prompts.length) }, () => echoed(textOf(each))),
  );
  return {
    id: `cmpl-${request.digest.slice(0, 29)}`,
    object: "text_completion" as const,
    created: CREATED_SECONDS,
    model: modelOf(request, "echo"),
    choices: texts.map((text, index) => ({ text, index, logprobs: null, finish_reason: "stop" as const })),
    usage: completionUsage(countTokens(textOf(prompt)), countTokens(texts.join(""))),
  };
}

function completionUsage(promptTokens: number, completionTokens: number) {
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
    prompt_tokens_details: { cached_tokens: 0, audio_tokens: 0 },
    completion_tokens_details: {
      reasoning_tokens: 0,
      audio_tokens: 0,
      accepted_prediction_tokens: 0,
      rejected_prediction_tokens: 0,
    },
  };
}

export function response(request: EchoRequest) {
  const { input } = request.body;
  const instructions = stringOf(request, "instructions", null);
  const text = lastTextOf(input);
  const inputTokens = countTokens(textOf(input) + (instructions ?? ""));
  const outputTokens = countTokens(text);
  return {
    id: `resp_${request.digest.slice(0, 48)}`,
    object: "response" as const,
    created_at: CREATED_SECONDS,
    completed_at: CREATED_SECONDS,
    status: "completed" as const,
    background: false,
    error: null,
    incomplete_details: null,
    instructions,
    max_output_tokens: null,
    max_tool_calls: null,
    model: modelOf(request, "echo"),
    output: [
      {
        id: `msg_${request.digest.slice(0, 48)}`,
        type: "message" as const,
        status: "completed" as const,
        role: "assistant" as const,
        content: [{ type: "output_text" as const, text, annotations: [], logprobs: [] }],
      },
    ],
    parallel_tool_calls: true,
    previous_response_id: stringOf(request, "previous_response_id", null),
    reasoning: { effort: null, summary: null },
    safety_identifier: null,
    service_tier: "default" as const,
    store: true,
    temperature: 1,
    text: { format: { type: "text" as const } },
    tool_choice: "auto" as const,
    tools: [],
    top_logprobs: 0,
    top_p: 1,
    truncation: "disabled" as const,
    usage: {
      input_tokens: inputTokens,
      input_tokens_details: { cached_tokens: 0, cache_write_tokens: 0 },
      output_tokens: outputTokens,
      output_tokens_details: { reasoning_tokens: 0 },
      total_tokens: inputTokens + outputTokens,
    },
    access_programs: null,
    metadata: {},
  };
}

export function images(request: EchoRequest) {
  const imageCount = countOf(request, "n", MAX_IMAGES);
  const textTokens = countTokens(textOf(request.body["prompt"]));
  return {
    created: CREATED_SECONDS,
    background: "opaque" as const,
    output_format: "png" as const,
    quality: "low" as const,
    size: stringOf(request, "size", "1024x1024"),
    data: Array.from({ length: imageCount }, () => ({ b64_json: PNG_BASE64 })),
    usage: {
      input_tokens: textTokens,
      input_tokens_details: { text_tokens: textTokens, image_tokens: 0 },
      output_tokens: imageCount,
      total_tokens: textTokens + imageCount,
    },
  };
}

/** A job that was taken on; nobody works on it. */
export function video(request: EchoRequest) {
  return {
    id: `video_${request.digest.slice(0, 48)}`,
    object: "video" as const,
    model: modelOf(request, "sora-2"),
    status: "queued" as const,
    progress: 0,
    prompt: echoed(textOf(request.body["prompt"])),
    seconds: stringOf(request, "seconds", "4"),
    size: stringOf(request, "size", "720x1280"),
    created_at: CREATED_SECONDS,
    completed_at: null,
    expires_at: null,
    error: null,
    remixed_from_video_id: null,
  };
}
