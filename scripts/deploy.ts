/** `npm run deploy`: `wrangler deploy` with the flags it was given, and what is left to do after the first one. */
import { spawnSync } from "node:child_process";

const { status } = spawnSync("wrangler", ["deploy", ...process.argv.slice(2)], { stdio: "inherit" });
process.exitCode = status ?? 1;
if (status === 0 && !process.argv.includes("--dry-run")) {
  console.log("\nAfter the first deploy, give clients their key: npx wrangler secret put ADMIN_API_KEY");
}
