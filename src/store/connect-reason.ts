/** Why there is no connection, in a sentence that says what to do. The libraries' own ones are for their developers. */

/** What Node's TLS says of a certificate whose authority it doesn't know. */
const UNKNOWN_AUTHORITY = new Set([
  "DEPTH_ZERO_SELF_SIGNED_CERT",
  "SELF_SIGNED_CERT_IN_CHAIN",
  "UNABLE_TO_GET_ISSUER_CERT",
  "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
  "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
]);

const HUNG_UP = "it hung up: does it want TLS (rediss://)?";

export function reasonOf(error: Error): string {
  const { code, message } = error as NodeJS.ErrnoException;
  if (UNKNOWN_AUTHORITY.has(code ?? "")) {
    return `its certificate is from no authority that this machine knows (${message}): name the authority's in WAYMARK_REDIS_CA`;
  }
  switch (code) {
    case "ERR_TLS_CERT_ALTNAME_INVALID":
      return `its certificate is for another name (${message})`;
    case "CERT_HAS_EXPIRED":
      return "its certificate has expired";
    case "ERR_SSL_WRONG_VERSION_NUMBER":
    case "ERR_SSL_PACKET_LENGTH_TOO_LONG":
      return "it speaks no TLS at this port: use redis://";
    case "ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED":
    case "ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE":
      return "it wants a certificate of its clients: name one in WAYMARK_REDIS_CERT, and its key in WAYMARK_REDIS_KEY";
    case "ECONNRESET":
      return HUNG_UP;
    default:
      return ofServer(message);
  }
}

/** What a server answers begins with a word that stands for the reason. */
function ofServer(message: string): string {
  if (message.startsWith("NOAUTH")) return "it wants a password (NOAUTH): redis://USER:PASSWORD@HOST";
  if (message.startsWith("WRONGPASS")) return "it knows no such user with this password (WRONGPASS)";
  if (message === "Connection is closed.") return HUNG_UP;
  if (message.startsWith("All sentinels are unreachable"))
    return "none of its sentinels answers with a primary of this name";
  if (message.startsWith("Unknown RESP type")) return "what answers there doesn't speak Redis's protocol";
  if (message.includes("cluster support disabled")) return "it is no cluster, for which a comma in the address stands";
  return message;
}
