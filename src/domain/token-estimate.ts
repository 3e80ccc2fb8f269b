/**
 * What a line is expected to cost in tokens before it is sent: by its bytes, and by what the batch's answers have cost so far.
 * A token is about four characters of English (help.openai.com/articles/4936856), which are four bytes. What the answer
 * adds, and what another language or JSON's own characters change, is learnt from the answers. Pure.
 */

/** What the answers of a batch have cost so far. */
export interface TokensSeen {
  /** Answers whose usage said how many tokens they cost. The older ones count less after many. */
  readonly answers: number;
  readonly tokens: number;
}

export interface LineSizes {
  /** Of the line in question, or a mean over some, such as a slice's `byteLength / lineCount`. */
  readonly lineBytes: number;
  /** The mean of the whole batch, to which the answers belong. */
  readonly meanLineBytes: number;
}

export const NO_TOKENS_SEEN: TokensSeen = { answers: 0, tokens: 0 };

const BYTES_PER_TOKEN = 4;
/** Until answers say otherwise, an answer is taken to be as long as its request. */
const REQUESTS_WORTH = 2;
/** The first guess counts like this many answers. */
const GUESS_ANSWERS = 4;
/** After this many answers all of them count half: what a batch's lines cost may change along its file. */
const FORGETS_AFTER = 1000;

export function seeTokens(before: TokensSeen, { answers, tokens }: TokensSeen): TokensSeen {
  const sum = { answers: before.answers + answers, tokens: before.tokens + tokens };
  return sum.answers <= FORGETS_AFTER ? sum : { answers: sum.answers / 2, tokens: sum.tokens / 2 };
}

/** A whole number, at least 1. */
export function estimateTokens({ answers, tokens }: TokensSeen, { lineBytes, meanLineBytes }: LineSizes): number {
  const guess = (meanLineBytes / BYTES_PER_TOKEN) * REQUESTS_WORTH;
  const mean = (guess * GUESS_ANSWERS + tokens) / (GUESS_ANSWERS + answers);
  return Math.max(1, Math.round(mean + (lineBytes - meanLineBytes) / BYTES_PER_TOKEN));
}
