/**
 * Which addresses a plan may not reach over HTTP: this machine, its network, and everything else that isn't a public
 * host, in each of the forms in which IPv6 can write an IPv4 address. From the IANA special-purpose registries.
 */

/** Says what kind of address that is, such as "loopback", or null where it is public. Not an address: "malformed". */
export function specialKind(address: string): string | null {
  const bytes = parseAddress(address);
  if (bytes === null) return "malformed";
  return bytes.length === 4 ? specialKind4(bytes) : specialKind6(bytes);
}

/** An exception from the rule: a host as it stands in the URL, the same with a port, or a block of addresses. */
export type AllowEntry =
  | { readonly kind: "host"; readonly host: string; readonly port: number | null }
  | { readonly kind: "block"; readonly block: Block };

export interface Block {
  readonly bytes: readonly number[];
  readonly bits: number;
}

/** `host`, `host:port`, `[v6]:port` or a CIDR; null where it is none of them. */
export function parseAllowEntry(text: string): AllowEntry | null {
  if (text.includes("/")) {
    const block = parseBlock(text);
    return block && { kind: "block", block };
  }
  const bare = parseAddress(text);
  if (bare !== null) return { kind: "host", host: canonicalHost(text), port: null };
  const match = /^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)(?::(\d{1,5}))?$/.exec(text);
  const host = match?.[1];
  const port = match?.[3] === undefined ? null : Number(match[3]);
  if (host === undefined || (port !== null && (port < 1 || port > 65_535))) return null;
  if (host.startsWith("[") && parseAddress(host.slice(1, -1)) === null) return null;
  return { kind: "host", host: canonicalHost(host), port };
}

/** Whether the host of a URL is excepted whatever its addresses are. `host` may be an address, in brackets or not. */
export function allowsHost(entries: readonly AllowEntry[], host: string, port: number): boolean {
  const wanted = canonicalHost(host);
  return entries.some(
    (entry) => entry.kind === "host" && entry.host === wanted && (entry.port === null || entry.port === port),
  );
}

/** Whether an address lies in one of the excepted blocks. */
export function allowsAddress(entries: readonly AllowEntry[], address: string): boolean {
  const bytes = parseAddress(address);
  return bytes !== null && entries.some((entry) => entry.kind === "block" && isInside(bytes, entry.block));
}

/** Four or sixteen bytes, or null. Only the dotted form of IPv4: URLs have been normalised to it. */
export function parseAddress(text: string): readonly number[] | null {
  if (!text.includes(":")) return parseAddress4(text);
  // The zone of a link-local address names an interface, not another address.
  const zoneless = text.split("%", 1)[0]!;
  const dotted = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(zoneless);
  if (dotted === null) return parseGroups(zoneless);
  const v4 = parseAddress4(dotted[2]!);
  if (v4 === null) return null;
  const hex = (high: number, low: number) => (high * 256 + low).toString(16);
  return parseGroups(`${dotted[1]}${hex(v4[0]!, v4[1]!)}:${hex(v4[2]!, v4[3]!)}`);
}

function parseAddress4(text: string): readonly number[] | null {
  if (!/^\d{1,3}(\.\d{1,3}){3}$/.test(text)) return null;
  const bytes = text.split(".").map(Number);
  return bytes.every((byte) => byte <= 255) ? bytes : null;
}

function parseGroups(text: string): readonly number[] | null {
  const halves = text.split("::");
  if (halves.length > 2) return null;
  const [head, tail] = halves.map((half) => (half === "" ? [] : half.split(":")));
  const groups =
    tail === undefined ? head! : [...head!, ...Array(Math.max(0, 8 - head!.length - tail.length)).fill("0"), ...tail];
  const isCompressed = tail !== undefined && head!.length + tail.length < 8;
  if (groups.length !== 8 || (tail !== undefined && !isCompressed)) return null;
  if (!groups.every((group) => /^[0-9a-fA-F]{1,4}$/.test(group))) return null;
  return groups.flatMap((group) => [Number.parseInt(group, 16) >> 8, Number.parseInt(group, 16) & 0xff]);
}

function parseBlock(text: string): Block | null {
  const [address, length, ...more] = text.split("/");
  const bytes = parseAddress(address!);
  if (bytes === null || length === undefined || more.length > 0 || !/^\d{1,3}$/.test(length)) return null;
  const bits = Number(length);
  return bits <= bytes.length * 8 ? { bytes, bits } : null;
}

function isInside(bytes: readonly number[], block: Block): boolean {
  if (bytes.length !== block.bytes.length) return false;
  for (let bit = 0; bit < block.bits; bit += 8) {
    const mask = block.bits - bit >= 8 ? 0xff : (0xff00 >> (block.bits - bit)) & 0xff;
    if (((bytes[bit / 8]! ^ block.bytes[bit / 8]!) & mask) !== 0) return false;
  }
  return true;
}

function canonicalHost(host: string): string {
  const bare = host.startsWith("[") && host.endsWith("]") ? host.slice(1, -1) : host;
  return parseAddress(bare)?.join(".") ?? bare.toLowerCase();
}

const SPECIAL_4 = blocks([
  ["0.0.0.0/8", "unspecified"],
  ["10.0.0.0/8", "private"],
  ["100.64.0.0/10", "carrier-grade NAT"],
  ["127.0.0.0/8", "loopback"],
  ["168.63.129.16/32", "cloud metadata"],
  ["169.254.0.0/16", "link-local"],
  ["172.16.0.0/12", "private"],
  ["192.0.0.0/24", "reserved"],
  ["192.0.2.0/24", "reserved"],
  ["192.88.99.0/24", "reserved"],
  ["192.168.0.0/16", "private"],
  ["198.18.0.0/15", "reserved"],
  ["198.51.100.0/24", "reserved"],
  ["203.0.113.0/24", "reserved"],
  ["224.0.0.0/4", "multicast"],
  ["240.0.0.0/4", "reserved"],
]);

/** Forms that carry an IPv4 address, and the byte at which it begins. What holds for that address holds for them. */
const EMBEDDING = blocks([
  ["::ffff:0:0/96", 12],
  ["::ffff:0:0:0/96", 12],
  ["64:ff9b::/96", 12],
  ["2002::/16", 2],
]);

const SPECIAL_6 = blocks([
  ["::/128", "unspecified"],
  ["::1/128", "loopback"],
  ["fc00::/7", "private"],
  ["fe80::/10", "link-local"],
  ["fec0::/10", "private"],
  ["ff00::/8", "multicast"],
  ["2001::/23", "reserved"],
  ["2001:db8::/32", "reserved"],
  ["3fff::/20", "reserved"],
]);

/** The only part of IPv6 from which public addresses are given out. */
const PUBLIC_6 = parseBlock("2000::/3")!;

function blocks<T>(entries: readonly (readonly [string, T])[]): readonly (readonly [Block, T])[] {
  return entries.map(([cidr, value]) => [parseBlock(cidr)!, value]);
}

function specialKind4(bytes: readonly number[]): string | null {
  return SPECIAL_4.find(([block]) => isInside(bytes, block))?.[1] ?? null;
}

function specialKind6(bytes: readonly number[]): string | null {
  const embedding = EMBEDDING.find(([block]) => isInside(bytes, block));
  if (embedding) return specialKind4(bytes.slice(embedding[1], embedding[1] + 4));
  const special = SPECIAL_6.find(([block]) => isInside(bytes, block));
  if (special) return special[1];
  return isInside(bytes, PUBLIC_6) ? null : "reserved";
}
