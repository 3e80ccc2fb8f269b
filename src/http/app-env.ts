/** What handlers find in their context: in front of `authenticate`, and behind it. */
import type { Settings } from "../config.ts";
import type { Caller } from "./caller.ts";

/** Of every request, whoever sent it. */
export interface AppEnv {
  Bindings: Env;
  Variables: {
    requestId: string;
    /** Missing where nobody was asked for a key, or it was refused. */
    caller?: Caller;
    /** The object that the request turned out to be about, for its log line. */
    batchId?: string;
    fileId?: string;
    /** Why it was refused, in OpenAI's codes. */
    refusal?: string;
  };
}

/** Of a request that `authenticate` has let pass. */
export interface CallerEnv extends AppEnv {
  Variables: AppEnv["Variables"] & {
    caller: Caller;
    settings: Settings;
    db: D1Database;
  };
}
