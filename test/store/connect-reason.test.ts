import { expect, test } from "vitest";
import { reasonOf } from "../../src/store/connect-reason.js";

test.each([
  ["SELF_SIGNED_CERT_IN_CHAIN", "self-signed certificate in certificate chain", "WAYMARK_REDIS_CA"],
  ["UNABLE_TO_VERIFY_LEAF_SIGNATURE", "unable to verify the first certificate", "WAYMARK_REDIS_CA"],
  ["ERR_TLS_CERT_ALTNAME_INVALID", "IP: 127.0.0.1 is not in the cert's list", "for another name (IP: 127.0.0.1"],
  ["CERT_HAS_EXPIRED", "certificate has expired", "has expired"],
  ["ERR_SSL_WRONG_VERSION_NUMBER", "wrong version number", "use redis://"],
  ["ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED", "alert number 116", "WAYMARK_REDIS_CERT"],
  ["ECONNREFUSED", "connect ECONNREFUSED 127.0.0.1:1", "connect ECONNREFUSED 127.0.0.1:1"],
  [undefined, "NOAUTH Authentication required.", "it wants a password (NOAUTH)"],
  [undefined, "WRONGPASS invalid username-password pair", "it knows no such user with this password (WRONGPASS)"],
  ["ECONNRESET", "read ECONNRESET", "does it want TLS"],
  [undefined, "Connection is closed.", "does it want TLS"],
  [undefined, "All sentinels are unreachable and retry is disabled.", "none of its sentinels"],
  [undefined, 'Unknown RESP type 72 "H". Please report this.', "doesn't speak Redis's protocol"],
  [undefined, "ERR This instance has cluster support disabled", "it is no cluster"],
])("%s, %s", (code, message, part) => {
  expect(reasonOf(Object.assign(new Error(message), { code }))).toContain(part);
});
