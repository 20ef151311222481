/** A server that is spoken to in TLS, with certificates of an authority that only the test knows. */
import { readFileSync } from "node:fs";
import { Redis } from "ioredis";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { createClient } from "../../src/client/create-client.js";
import { createWorker } from "../../src/client/create-worker.js";
import { definePlan } from "../../src/define/define-plan.js";
import { connect } from "../../src/store/connect.js";
import { type Certificates, contentOf, makeCertificates } from "../support/certificates.js";
import { Workplace } from "../support/cli.js";
import { freePort, type PrivateRedis, startPrivateRedis } from "../support/private-redis.js";
import { aPrefix } from "../support/store.js";

let certificates: Certificates;
let open: PrivateRedis;
/** It asks its clients for certificates of its authority. */
let strict: PrivateRedis;
let ca: string;

beforeAll(async () => {
  certificates = makeCertificates();
  ca = readFileSync(certificates.ca, "utf8");
  open = await startTls(certificates, "no");
  strict = await startTls(certificates, "yes");
});

afterAll(async () => {
  await open?.stop();
  await strict?.stop();
  certificates.remove();
});

test("a server whose authority is named is trusted, and another one is not", async () => {
  const redis = await connect({ url: tlsUrl(open), tls: { ca }, patient: false });
  expect(await redis.ping()).toBe("PONG");
  redis.disconnect();

  const startedAt = Date.now();
  await expect(connect({ url: tlsUrl(open, "ada:secret@"), patient: false })).rejects.toMatchObject({
    code: "STORE_UNAVAILABLE",
    message: expect.stringMatching(
      /rediss:\/\/\*\*\*@127.*certificate is from no authority.*WAYMARK_REDIS_CA/,
    ) as string,
  });
  expect(Date.now() - startedAt).toBeLessThan(3_000);
});

test("a certificate for another name is refused, unless that name is expected", async () => {
  const others = makeCertificates("DNS:redis.internal");
  const elsewhere = await startTls(others, "no");
  const otherCa = readFileSync(others.ca, "utf8");

  await expect(connect({ url: tlsUrl(elsewhere), tls: { ca: otherCa }, patient: false })).rejects.toMatchObject({
    message: expect.stringContaining("its certificate is for another name") as string,
  });
  const tls = { ca: otherCa, servername: "redis.internal" };
  (await connect({ url: tlsUrl(elsewhere), tls, patient: false })).disconnect();

  await elsewhere.stop();
  others.remove();
});

test("a server that asks for a certificate gets the client's", async () => {
  await expect(connect({ url: tlsUrl(strict), tls: { ca }, patient: false })).rejects.toMatchObject({
    code: "STORE_UNAVAILABLE",
    message: expect.stringContaining("it wants a certificate of its clients") as string,
  });

  const tls = { ca, ...contentOf(certificates.client) };
  const redis = await connect({ url: tlsUrl(strict), tls, patient: false });

  expect(await redis.ping()).toBe("PONG");
  redis.disconnect();
});

test.each([
  ["in TLS at a port without", () => open.url.replace("redis:", "rediss:"), "does it speak TLS at this port?"],
  ["without TLS at a port with", () => tlsUrl(open).replace("rediss:", "redis:"), "does it want TLS (rediss://)?"],
])("who speaks %s is told so", async (_how, url, reason) => {
  await expect(connect({ url: url(), patient: false })).rejects.toMatchObject({
    code: "STORE_UNAVAILABLE",
    message: expect.stringContaining(reason) as string,
  });
});

test.each([
  ["an address with certificates", () => ({ url: tlsUrl(strict), tls: { ca, ...contentOf(certificates.client) } })],
  [
    "options",
    () => ({
      host: "127.0.0.1",
      port: tlsPort(strict),
      tls: { ca, ...contentOf(certificates.client), checkServerIdentity() {} },
    }),
  ],
] as const)("a worker and its keeper connect by %s", async (_what, source) => {
  const prefix = aPrefix();
  const redis = source() as { url: string };
  const plan = definePlan("secure", { input: z.object({}) }).step("one", async () => 1);
  const worker = createWorker({ redis, prefix, plans: [plan], services: {} });
  const client = createClient({ redis, prefix });

  const { result } = await client.submit(plan, {});

  expect(await result()).toBe(1);
  expect(await client.workers()).toMatchObject([{ state: "accepting" }]);
  await client.close();
  await worker.close();
});

test("the command line takes certificates from files", async () => {
  const place = new Workplace();
  Object.assign(place.env, {
    WAYMARK_REDIS_URL: tlsUrl(strict),
    WAYMARK_REDIS_CA: certificates.ca,
    WAYMARK_REDIS_CERT: certificates.client.cert,
    WAYMARK_REDIS_KEY: certificates.client.key,
  });
  place.write("plan.yaml", "plan: hello\nsteps: [{ run: echo hi }]\n");

  const run = await place.plan("run", "plan.yaml", "--id", "by-tls");
  const admin = new Redis(strict.url);
  expect(run.code, run.stderr).toBe(0);
  expect(await admin.hget("{waymark:0}:plan:by-tls", "state")).toBe("completed");
  admin.disconnect();
  await place.close();
});

async function startTls({ ca: authority, server }: Certificates, authClients: "yes" | "no"): Promise<PrivateRedis> {
  return startPrivateRedis({
    settings: {
      "tls-port": String(await freePort()),
      "tls-cert-file": server.cert,
      "tls-key-file": server.key,
      "tls-ca-cert-file": authority,
      "tls-auth-clients": authClients,
    },
  });
}

function tlsPort(redis: PrivateRedis): number {
  return Number(redis.settings["tls-port"]);
}

function tlsUrl(redis: PrivateRedis, login = ""): string {
  return `rediss://${login}127.0.0.1:${tlsPort(redis)}`;
}
