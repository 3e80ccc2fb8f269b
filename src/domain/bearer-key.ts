/** Which keys can be sent as `authorization: Bearer …`: of others the runtime complains in its log, and quotes them. */

/** Visible ASCII, and at least one of it. */
export function canBeSent(key: string): boolean {
  return /^[\x21-\x7e]+$/.test(key);
}
