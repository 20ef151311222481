import { BlockList, isIP } from "node:net";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  allowsAddress,
  allowsHost,
  parseAddress,
  parseAllowEntry,
  specialKind,
} from "../../src/handlers/address-guard.js";

describe("an address is special", () => {
  test.each([
    ["127.0.0.1", "loopback"],
    ["127.255.255.255", "loopback"],
    ["0.0.0.0", "unspecified"],
    ["0.1.2.3", "unspecified"],
    ["10.0.0.1", "private"],
    ["172.16.0.1", "private"],
    ["172.31.255.255", "private"],
    ["192.168.1.1", "private"],
    ["100.64.0.1", "carrier-grade NAT"],
    ["100.127.255.255", "carrier-grade NAT"],
    ["169.254.169.254", "link-local"],
    ["168.63.129.16", "cloud metadata"],
    ["192.0.0.192", "reserved"],
    ["198.19.0.1", "reserved"],
    ["224.0.0.1", "multicast"],
    ["239.255.255.255", "multicast"],
    ["255.255.255.255", "reserved"],
    ["::", "unspecified"],
    ["::1", "loopback"],
    ["0:0:0:0:0:0:0:1", "loopback"],
    ["fe80::1", "link-local"],
    ["fe80::1%eth0", "link-local"],
    ["febf::1", "link-local"],
    ["fec0::1", "private"],
    ["fc00::1", "private"],
    ["fd00:ec2::254", "private"],
    ["ff02::1", "multicast"],
    ["2001:db8::1", "reserved"],
    ["2001:0:a00:1::", "reserved"],
    ["100::1", "reserved"],
    ["::ffff:127.0.0.1", "loopback"],
    ["::ffff:7f00:1", "loopback"],
    ["::FFFF:A9FE:A9FE", "link-local"],
    ["::ffff:0:10.0.0.1", "private"],
    ["::127.0.0.1", "reserved"],
    ["64:ff9b::10.1.2.3", "private"],
    ["64:ff9b::6440:1", "carrier-grade NAT"],
    ["64:ff9b:1::808:808", "reserved"],
    ["2002:7f00:1::", "loopback"],
    ["2002:c0a8:101::1", "private"],
    ["", "malformed"],
    ["localhost", "malformed"],
    ["1.2.3", "malformed"],
    ["256.1.1.1", "malformed"],
    ["1:2:3", "malformed"],
    ["1::2::3", "malformed"],
    ["1:2:3:4:5:6:7:8::", "malformed"],
    ["::1.2.3.400", "malformed"],
    ["::12345", "malformed"],
  ])("%s is %s", (address, kind) => {
    expect(specialKind(address)).toBe(kind);
  });

  test.each([
    "1.1.1.1",
    "172.15.255.255",
    "172.32.0.1",
    "100.63.255.255",
    "100.128.0.1",
    "126.255.255.255",
    "223.255.255.255",
    "2606:4700::1111",
    "2a00:1450:4001:80b::200e",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
    "2002:808:808::1",
  ])("unless it is public: %s", (address) => {
    expect(specialKind(address)).toBeNull();
  });

  test("in agreement with Node about every block of IPv4", () => {
    const node = new BlockList();
    const blocks =
      "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 168.63.129.16/32 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4";
    for (const block of blocks.split(" ")) {
      const [address, bits] = block.split("/");
      node.addSubnet(address!, Number(bits), "ipv4");
    }
    fc.assert(
      fc.property(fc.ipV4(), (address) => {
        expect(specialKind(address) !== null).toBe(node.check(address));
        expect(specialKind(`::ffff:${address}`)).toBe(specialKind(address));
      }),
      { numRuns: 2_000 },
    );
  });

  test("and parsed where Node takes it for an address", () => {
    fc.assert(
      fc.property(
        fc.oneof(fc.ipV6(), fc.ipV4(), fc.string({ unit: fc.constantFrom(..."12af:."), maxLength: 12 })),
        (text) => {
          expect(parseAddress(text)?.length ?? 0).toBe({ 0: 0, 4: 4, 6: 16 }[isIP(text)]);
        },
      ),
      { numRuns: 5_000 },
    );
  });
});

describe("an exception", () => {
  test.each([
    "db",
    "db.internal",
    "DB-1.internal:5432",
    "10.0.0.1",
    "10.0.0.1:80",
    "10.0.0.0/8",
    "::1",
    "[::1]",
    "[::1]:80",
    "fd00::/8",
  ])("can be written %s", (text) => {
    expect(parseAllowEntry(text)).not.toBeNull();
  });

  test.each([
    "",
    "*",
    "*.internal",
    "http://db",
    "db:0",
    "db:65536",
    "db:",
    "10.0.0.0/33",
    "10/8",
    "fd00::/129",
    "10.0.0.0/8/8",
    "10.0.0.0/",
    "[db]",
    "[1:2]:80",
    "a b",
    "-db",
  ])("can't be written %j", (text) => {
    expect(parseAllowEntry(text)).toBeNull();
  });

  test("for a host is for that host as the URL has it, and for its port where it names one", () => {
    const entries = ["Db.internal:5432", "127.0.0.1", "[0:0::1]:80"].map((text) => parseAllowEntry(text)!);

    expect(allowsHost(entries, "db.INTERNAL", 5432)).toBe(true);
    expect(allowsHost(entries, "db.internal", 80)).toBe(false);
    expect(allowsHost(entries, "db.internal.evil.example", 5432)).toBe(false);
    expect(allowsHost(entries, "127.0.0.1", 9)).toBe(true);
    expect(allowsHost(entries, "127.0.0.2", 9)).toBe(false);
    expect(allowsHost(entries, "[::1]", 80)).toBe(true);
    expect(allowsHost(entries, "::1", 81)).toBe(false);
    expect(allowsAddress(entries, "127.0.0.1")).toBe(false);
  });

  test("for a block is for each address in it and for no other", () => {
    const entries = ["10.1.16.0/20", "fd00:1::/33", "0.0.0.0/0"].map((text) => parseAllowEntry(text)!);
    const [v4, v6, all] = [entries.slice(0, 1), entries.slice(1, 2), entries.slice(2)];

    expect(allowsAddress(v4, "10.1.31.255")).toBe(true);
    expect(allowsAddress(v4, "10.1.32.0")).toBe(false);
    expect(allowsAddress(v4, "10.1.15.255")).toBe(false);
    expect(allowsAddress(v6, "fd00:1:7fff::1")).toBe(true);
    expect(allowsAddress(v6, "fd00:1:8000::1")).toBe(false);
    expect(allowsAddress(all, "127.0.0.1")).toBe(true);
    expect(allowsAddress(all, "::1")).toBe(false);
    expect(allowsAddress(all, "nonsense")).toBe(false);
    expect(allowsHost(entries, "10.1.16.1", 80)).toBe(false);
  });
});
