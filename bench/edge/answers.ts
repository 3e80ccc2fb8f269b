/** Answers of a chosen size. */

/** JSON of `bytes` bytes; of a few hundred at least, which is what an empty answer needs. */
export function writeAnswer(bytes: number): string {
  const usage = { prompt_tokens: 200, completion_tokens: 100, total_tokens: 300 };
  const head = `{"id":"chatcmpl-1","object":"chat.completion","usage":${JSON.stringify(usage)},"choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"`;
  const tail = '"}}]}';
  return head + "y".repeat(Math.max(0, bytes - head.length - tail.length)) + tail;
}

/** An embedding of about `bytes` bytes: numbers, which take longer to parse than a text of the same size. */
export function writeEmbedding(bytes: number): string {
  const numbers: string[] = [];
  for (let length = 0; length < bytes; length += (numbers.at(-1)?.length ?? 0) + 1) {
    numbers.push(((numbers.length * 0.618) % 1).toFixed(17));
  }
  return `{"object":"list","data":[{"object":"embedding","index":0,"embedding":[${numbers.join(",")}]}],"model":"m","usage":{"prompt_tokens":8,"total_tokens":8}}`;
}
