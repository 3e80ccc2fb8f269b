/** Who a request comes from, and the header with which a caller chooses an upstream. */

export interface Caller {
  readonly tenant: string;
  /** The bearer token, when it is the upstream's key and goes there in place of the configured one. */
  readonly guestKey: string | null;
}

/** The header that names an upstream, as Portkey's gateway calls it. */
export const UPSTREAM_HEADER = "x-portkey-provider";
