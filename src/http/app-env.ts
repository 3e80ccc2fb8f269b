/** What every handler finds in its context. */
import type { Settings } from "../config.ts";
import type { Caller } from "./auth.ts";

export interface AppEnv {
  Bindings: Env;
  Variables: {
    requestId: string;
    /** The rest is there behind `authenticate`. */
    settings: Settings;
    caller: Caller;
    db: D1Database;
    /** The object that the request turned out to be about, for its log line. */
    batchId?: string;
    fileId?: string;
    /** Why it was refused, in OpenAI's codes. */
    refusal?: string;
  };
}
