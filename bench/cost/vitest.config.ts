/** Runs the cost measurements inside workerd. */
import { cloudflareTest } from "@cloudflare/vitest-pool-workers";
import { defineConfig } from "vitest/config";

const MINUTE_MS = 60_000;

export default defineConfig({
  plugins: [
    cloudflareTest({
      wrangler: { configPath: "./wrangler.toml" },
      miniflare: { bindings: { ADMIN_API_KEY: "sk-bench" } },
    }),
  ],
  test: {
    include: ["bench/cost/*.bench.ts"],
    testTimeout: 15 * MINUTE_MS,
    disableConsoleIntercept: true,
  },
});
