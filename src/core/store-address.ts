/**
 * Addresses of stores: one server, a cluster (a comma between its nodes), or the primary that sentinels name. What is
 * wrong with one is said without repeating it, since it may hold a password.
 */
import { UsageError } from "./errors.js";

export type StoreAddress = ServerAddress | ClusterAddress | SentinelAddress;

export interface ServerAddress {
  readonly kind: "server";
  readonly node: StoreNode;
}

export interface ClusterAddress {
  readonly kind: "cluster";
  /** Some of its nodes; the others are found through them. */
  readonly nodes: readonly StoreNode[];
}

export interface SentinelAddress {
  readonly kind: "sentinel";
  readonly sentinels: readonly { readonly host: string; readonly port: number }[];
  /** What the sentinels call the primary. */
  readonly name: string;
  /** Login, database and TLS of the primary. */
  readonly primary: Omit<StoreNode, "host" | "port" | "path">;
  readonly sentinelUsername?: string;
  readonly sentinelPassword?: string;
}

/** In ioredis's own words. */
export interface StoreNode {
  readonly host?: string;
  readonly port?: number;
  /** Of a unix socket, instead of host and port. */
  readonly path?: string;
  readonly username?: string;
  readonly password?: string;
  readonly db: number;
  /** Whether it is spoken to in TLS. */
  readonly tls: boolean;
}

/** How to reach a store: plain data, so that another thread can connect as well. */
export interface StoreLocation {
  readonly url: string;
  readonly tls?: StoreTls;
}

/** In the words of Node's `tls.connect`. Certificates and keys are PEM texts. */
export interface StoreTls {
  /** Of the authority that the server's certificate is from, where this machine doesn't know it. */
  readonly ca?: string | Buffer | readonly (string | Buffer)[];
  /** What this client shows, where the server asks for a certificate. */
  readonly cert?: string | Buffer;
  readonly key?: string | Buffer;
  readonly passphrase?: string;
  /** The name that the server's certificate is for, where it isn't the address's. */
  readonly servername?: string;
  readonly rejectUnauthorized?: boolean;
}

const REDIS_PORT = 6379;
const SENTINEL_PORT = 26379;
const EXAMPLES = "redis://localhost:6379, rediss://…, redis-sentinel://… or unix:///path/to.sock";

/** @throws UsageError that never repeats the address; its message is to be read after where the address came from */
export function parseStoreUrl(url: string): StoreAddress {
  const [first, ...others] = url.split(",").map((part) => part.trim()) as [string, ...string[]];
  const address = toUrl(first);
  if (/^rediss?-sentinel:$/.test(address.protocol)) return toSentinels(url, address.protocol === "rediss-sentinel:");
  const node = toNode(address);
  if (others.length === 0) return { kind: "server", node };
  const nodes = [node, ...others.map((part) => toNode(inheriting(part, address)))];
  if (nodes.some((one) => one.path !== undefined)) {
    throw new UsageError("names a unix socket among the nodes of a cluster");
  }
  if (nodes.some((one) => one.db !== 0)) {
    throw new UsageError("names a database, and a cluster has no other than 0");
  }
  return { kind: "cluster", nodes };
}

/** The address without what is secret in it, for messages. */
export function describeStoreUrl(url: string): string {
  return url
    .split(",")
    .map((part) => part.replace(/^(\s*[\w-]+:\/\/)?.*@/s, "$1***@"))
    .join(",")
    .replace(/([?&]sentinel-password=)[^&]*/g, "$1***");
}

/** What a node doesn't say itself is as with the first one. */
function inheriting(part: string, first: URL): URL {
  const address = toUrl(part.includes("://") ? part : `${first.protocol}//${part}`);
  if (address.username === "" && address.password === "") {
    address.username = first.username;
    address.password = first.password;
  }
  return address;
}

/** `redis-sentinel://USER:PASSWORD@HOST:PORT,HOST:PORT/NAME/DB`: login and database are the primary's. */
function toSentinels(url: string, tls: boolean): SentinelAddress {
  const [, login = "", hosts = "", path = "", query = ""] =
    /^[\w-]+:\/\/(?:([^@/]*)@)?([^/?]*)(?:\/([^?]*))?(?:\?(.*))?$/.exec(url.trim()) ?? [];
  const sentinels = hosts.split(",").map((part) => {
    const { hostname, port } = toUrl(`redis://${part.trim()}`);
    return { host: withoutBrackets(hostname) || "localhost", port: Number(port || SENTINEL_PORT) };
  });
  const [name = "", db = ""] = path.split("/");
  if (name === "")
    throw new UsageError("names sentinels, but not what they call the primary: redis-sentinel://HOST:PORT,…/NAME");
  const parameters = new URLSearchParams(query);
  const [username, password] = [parameters.get("sentinel-username"), parameters.get("sentinel-password")];
  const [user = "", ...secret] = login.split(":");
  return {
    kind: "sentinel",
    sentinels,
    name: decoded(name),
    primary: { ...loginOf(user, secret.join(":")), db: databaseOf(db || parameters.get("db")), tls },
    ...(username ? { sentinelUsername: username } : {}),
    ...(password ? { sentinelPassword: password } : {}),
  };
}

function toNode(address: URL): StoreNode {
  const login = loginOf(address.username, address.password);
  switch (address.protocol) {
    case "unix:":
      // unix://tmp/x.sock would name a host "tmp".
      if (address.pathname.length < 2 || address.host !== "") {
        throw new UsageError("needs an absolute path, with three slashes: unix:///path/to.sock");
      }
      return { path: decoded(address.pathname), ...login, db: databaseOf(address.searchParams.get("db")), tls: false };
    case "redis:":
    case "rediss:":
      return {
        host: withoutBrackets(address.hostname) || "localhost",
        port: Number(address.port || REDIS_PORT),
        ...login,
        db: databaseOf(address.pathname.replace(/^\//, "") || address.searchParams.get("db")),
        tls: address.protocol === "rediss:",
      };
    default:
      throw new UsageError(
        `has the scheme ${address.protocol}//; redis://, rediss://, redis-sentinel://, rediss-sentinel:// and unix:// are known`,
      );
  }
}

function toUrl(text: string): URL {
  try {
    return new URL(text);
  } catch (cause) {
    throw new UsageError(`is no address such as ${EXAMPLES}`, { cause });
  }
}

function loginOf(username: string, password: string): Pick<StoreNode, "username" | "password"> {
  return {
    ...(username === "" ? {} : { username: decoded(username) }),
    ...(password === "" ? {} : { password: decoded(password) }),
  };
}

function withoutBrackets(hostname: string): string {
  return hostname.replace(/^\[(.*)\]$/, "$1");
}

function databaseOf(text: string | null): number {
  if (text === null || text === "") return 0;
  if (!/^\d{1,5}$/.test(text)) throw new UsageError("names a database that is no number");
  return Number(text);
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch (cause) {
    throw new UsageError("has a % that starts no escape: write it as %25", { cause });
  }
}
