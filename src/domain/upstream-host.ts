/** Which hosts a Worker on the edge can send requests to. No I/O: nothing is looked up. */

const IPV4 = /^\d{1,3}(?:\.\d{1,3}){3}$/;
const LOOPBACK = /^127\.|^\[::1\]$/;

/**
 * Whether the URL names its host by an IP address that is not this machine's own. The edge refuses those (error
 * 1003, developers.cloudflare.com/support/troubleshooting/http-status-codes/cloudflare-1xxx-errors), private
 * ones too. `URL` has by then turned every other spelling of an address (`0x7f.1`, `2130706433`) into the usual one.
 */
export function isForeignAddress(url: string): boolean {
  const { hostname } = new URL(url);
  const isAddress = IPV4.test(hostname) || hostname.startsWith("[");
  return isAddress && !LOOPBACK.test(hostname);
}
