/**
 * What somebody without a batch service writes: reads a batch input file, sends every line to the upstream with a
 * bounded number of calls at once, and writes the answers. Prints its time, without its start, as JSON.
 *
 *   node direct-script.ts (sdk | fetch) BASE_URL INPUT OUTPUT CONCURRENCY
 */
import { readFile, writeFile } from "node:fs/promises";
import OpenAI from "openai";
import pLimit from "p-limit";

interface Line {
  readonly custom_id: string;
  readonly body: OpenAI.ChatCompletionCreateParamsNonStreaming;
}

const [kind = "", baseUrl = "", inputPath = "", outputPath = "", concurrency = ""] = process.argv.slice(2);
const client = new OpenAI({ baseURL: baseUrl, apiKey: "none" });
const send = kind === "sdk" ? sendWithSdk : sendWithFetch;

const cpuBefore = process.cpuUsage();
const startedAt = performance.now();
const text = await readFile(inputPath, "utf8");
const lines = text
  .trimEnd()
  .split("\n")
  .map((line) => JSON.parse(line) as Line);
const limit = pLimit(Number(concurrency));
const answers = await Promise.all(lines.map((line) => limit(() => send(line))));
await writeFile(outputPath, answers.map((answer) => `${JSON.stringify(answer)}\n`).join(""));
const ms = performance.now() - startedAt;
const { user, system } = process.cpuUsage(cpuBefore);
console.log(JSON.stringify({ ms, cpuMs: (user + system) / 1000 }));

async function sendWithSdk({ custom_id, body }: Line): Promise<unknown> {
  return { custom_id, body: await client.chat.completions.create(body) };
}

async function sendWithFetch({ custom_id, body }: Line): Promise<unknown> {
  const response = await fetch(`${baseUrl}/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json", authorization: "Bearer none" },
    body: JSON.stringify(body),
  });
  if (!response.ok) throw new Error(`the upstream answered ${response.status}`);
  return { custom_id, body: await response.json() };
}
