/**
 * Who is calling: the holder of the deployment's key or, with pass-through, a guest with an upstream's
 * key of its own. Keys are compared and turned into tenants here; they are never logged and never answered.
 */
import { createMiddleware } from "hono/factory";
import { type HttpUpstream, type Settings, settingsOf } from "../config.ts";
import { canBeSent } from "../domain/bearer-key.ts";
import type { Refusal } from "../protocol/refusal.ts";
import { NO_KEY, WRONG_KEY } from "../protocol/request-problems.ts";
import { openDatabase } from "../stores/schema.ts";
import { ApiError } from "./api-error.ts";
import type { CallerEnv } from "./app-env.ts";
import { type Caller, UPSTREAM_HEADER } from "./caller.ts";

const ADMIN_TENANT = "org-default";

const encoder = new TextEncoder();

/** Lets only known callers pass, and opens the database for them. */
export const authenticate = createMiddleware<CallerEnv>(async (c, next) => {
  const settings = settingsOf(c.env);
  c.set("settings", settings);
  c.set("caller", await identifyCaller(c.req.raw.headers, settings));
  c.set("db", await openDatabase(c.env.DB));
  await next();
});

/** Whether the request carries the deployment's own key. */
export async function isAdmin(headers: Headers, { adminApiKey }: Settings): Promise<boolean> {
  const token = readToken(headers);
  return token !== undefined && (await isSameKey(token, adminApiKey));
}

function readToken(headers: Headers): string | undefined {
  return /^Bearer +(\S+) *$/i.exec(headers.get("authorization") ?? "")?.[1];
}

/** @throws ApiError 401 */
async function identifyCaller(headers: Headers, settings: Settings): Promise<Caller> {
  const token = readToken(headers);
  if (token === undefined) throw unauthorized(NO_KEY);
  if (await isSameKey(token, settings.adminApiKey)) return { tenant: ADMIN_TENANT, guestKey: null };
  const upstream = findPassThrough(headers, settings);
  if (upstream === null || settings.encryptionKey === null || !canBeSent(token)) throw wrongKey();
  return { tenant: await deriveTenant(settings.encryptionKey, upstream.name, token), guestKey: token };
}

/** The upstream whose own key the bearer token is taken for; null where that is not allowed. */
function findPassThrough(headers: Headers, settings: Settings): HttpUpstream | null {
  if (!settings.passThrough) return null;
  const upstream = settings.upstreams.get(headers.get(UPSTREAM_HEADER) ?? "");
  return upstream?.kind === "http" ? upstream : null;
}

/** In constant time: the hashes have one length, and how far they agree says nothing about the keys. */
async function isSameKey(given: string, expected: string): Promise<boolean> {
  const [a, b] = await Promise.all(
    [given, expected].map((key) => crypto.subtle.digest("SHA-256", encoder.encode(key))),
  );
  if (a === undefined || b === undefined) return false;
  return crypto.subtle.timingSafeEqual(a, b);
}

/** An HMAC, so that the tables neither hold the guest's key nor let anybody try keys against them. */
async function deriveTenant(encryptionKey: string, upstream: string, token: string): Promise<string> {
  const secret = await crypto.subtle.importKey("raw", encoder.encode(encryptionKey), "HKDF", false, ["deriveKey"]);
  const key = await crypto.subtle.deriveKey(
    { name: "HKDF", hash: "SHA-256", salt: new Uint8Array(), info: encoder.encode("nightshift tenant") },
    secret,
    { name: "HMAC", hash: "SHA-256", length: 256 },
    false,
    ["sign"],
  );
  const mac = await crypto.subtle.sign("HMAC", key, encoder.encode(`${upstream}\n${token}`));
  return `org-${new Uint8Array(mac).toHex()}`;
}

/** For a key of nobody, here or at its provider. */
export function wrongKey(): ApiError {
  return unauthorized(WRONG_KEY);
}

function unauthorized(refusal: Refusal): ApiError {
  return new ApiError(401, refusal, { "www-authenticate": "Bearer" });
}
