/** Certificates of a test's own authority, made with openssl. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface Certificates {
  /** Paths. */
  readonly ca: string;
  readonly server: Pair;
  readonly client: Pair;
  remove(): void;
}

export interface Pair {
  readonly cert: string;
  readonly key: string;
}

/** For servers on 127.0.0.1, unless they are to have another name. */
export function makeCertificates(names = "IP:127.0.0.1"): Certificates {
  const directory = mkdtempSync(join(tmpdir(), "waymark-certificates-"));
  const at = (name: string) => join(directory, name);
  const openssl = (...args: string[]) => execFileSync("openssl", args, { cwd: directory, stdio: "pipe" });
  const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout"];
  openssl("req", "-x509", ...newKey, "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=Test authority");
  const issue = (name: string, extensions: string): Pair => {
    writeFileSync(at(`${name}.ext`), extensions);
    openssl("req", ...newKey, `${name}.key`, "-out", `${name}.csr`, "-subj", `/CN=${name}`);
    const signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", `${name}.ext`];
    openssl("x509", "-req", "-in", `${name}.csr`, "-out", `${name}.pem`, ...signed);
    return { cert: at(`${name}.pem`), key: at(`${name}.key`) };
  };
  return {
    ca: at("ca.pem"),
    server: issue("server", `subjectAltName=${names}`),
    client: issue("client", "extendedKeyUsage=clientAuth"),
    remove: () => rmSync(directory, { recursive: true, force: true }),
  };
}

export function contentOf({ cert, key }: Pair): { cert: string; key: string } {
  return { cert: readFileSync(cert, "utf8"), key: readFileSync(key, "utf8") };
}
