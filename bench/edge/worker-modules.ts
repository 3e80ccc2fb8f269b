/** Lets plain Node load the Worker's own modules. */
import { readFileSync } from "node:fs";
import { registerHooks } from "node:module";
import { fileURLToPath } from "node:url";

const PLATFORM = "cloudflare:workers";
const platformSource = `
  export class DurableObject { constructor(ctx, env) { this.ctx = ctx; this.env = env; } }
  export function waitUntil() {}
  export const env = {};
`;

/**
 * `cloudflare:workers` becomes what little of it they use, and a `.sql` file its text, as wrangler.toml's rules
 * have it. To be called before they are imported.
 */
export function installWorkerModules(): void {
  registerHooks({
    resolve: (specifier, context, next) => {
      if (specifier !== PLATFORM) return next(specifier, context);
      return { url: PLATFORM, format: "module", importAttributes: {}, shortCircuit: true };
    },
    load: (url, context, next) => {
      if (url === PLATFORM) return { format: "module", source: platformSource, shortCircuit: true };
      if (!url.endsWith(".sql")) return next(url, context);
      const text = readFileSync(fileURLToPath(url), "utf8");
      return { format: "module", source: `export default ${JSON.stringify(text)};`, shortCircuit: true };
    },
  });
  // The Worker's runtime has it; Node 24 does not yet.
  const bytes: object = Uint8Array.prototype;
  if ("toHex" in bytes) return;
  Object.defineProperty(bytes, "toHex", {
    value(this: Uint8Array) {
      return Buffer.from(this).toString("hex");
    },
  });
}
