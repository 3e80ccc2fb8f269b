/** The endpoints a batch may address, and the body parameters each cannot do without. One line adds one. */

export interface Endpoint {
  /** As OpenAI's messages call it. */
  readonly label: string;
  /** Parameters without which validation refuses a line, in the order they are checked. */
  readonly required: readonly (keyof typeof REQUIRED_MESSAGES)[];
}

/** platform.openai.com/docs/api-reference/batch/create#endpoint */
export const ENDPOINTS: Readonly<Record<string, Endpoint>> = {
  "/v1/chat/completions": { label: "Chat Completions", required: ["model", "messages"] },
  "/v1/completions": { label: "Completions", required: ["model", "prompt"] },
  "/v1/embeddings": { label: "Embeddings", required: ["model", "input"] },
  "/v1/responses": { label: "Responses", required: ["model"] },
  "/v1/moderations": { label: "Moderations", required: ["input"] },
  "/v1/images/generations": { label: "Images", required: ["prompt"] },
  "/v1/images/edits": { label: "Images", required: ["prompt"] },
  "/v1/videos": { label: "Videos", required: ["prompt"] },
};

export const ENDPOINT_PATHS: readonly string[] = Object.keys(ENDPOINTS).toSorted();

export const REQUIRED_MESSAGES = {
  model: "Model parameter is required.",
  messages: "Messages parameter is required.",
  input: "Input parameter is required.",
  prompt: "Prompt parameter is required.",
} as const;
