import { request } from "node:http";
import { connect } from "node:net";
import { afterEach, expect, test } from "vitest";
import { type HealthOptions, HealthServer, type HealthSource } from "../../src/observe/health-server.js";

let servers: HealthServer[] = [];

afterEach(async () => {
  await Promise.all(servers.map((server) => server.stop()));
  servers = [];
});

async function start(options: Partial<HealthOptions> = {}, source: Partial<HealthSource> = {}): Promise<HealthServer> {
  const server = new HealthServer(
    { port: 0, ...options },
    { unready: async () => null, facts: () => ({ active: 2 }), metrics: async () => "# EOF\n", ...source },
  );
  servers.push(server);
  await server.start();
  return server;
}

interface Answer {
  readonly status: number;
  readonly type: string | undefined;
  readonly body: string;
}

function get(
  server: HealthServer,
  path: string,
  headers: Record<string, string> = {},
  method = "GET",
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const sent = request({ port: server.port!, host: "127.0.0.1", path, method, headers, agent: false }, (response) => {
      let body = "";
      response.setEncoding("utf8").on("data", (chunk: string) => {
        body += chunk;
      });
      response.on("end", () => resolve({ status: response.statusCode!, type: response.headers["content-type"], body }));
    });
    sent.on("error", reject).end();
  });
}

test("says that it lives, whether it is ready and why not, and gives out metrics", async () => {
  let reason: string | null = null;
  const server = await start({}, { unready: async () => reason });

  expect(await get(server, "/livez")).toMatchObject({ status: 200, body: '{"status":"ok","active":2}\n' });
  expect(await get(server, "/readyz?verbose")).toMatchObject({ status: 200 });
  reason = "the worker is draining";
  expect(await get(server, "/readyz")).toMatchObject({
    status: 503,
    body: '{"status":"unready","reason":"the worker is draining","active":2}\n',
  });
  expect(await get(server, "/livez")).toMatchObject({ status: 200 });
  expect(await get(server, "/metrics")).toEqual({
    status: 200,
    type: "application/openmetrics-text; version=1.0.0; charset=utf-8",
    body: "# EOF\n",
  });
  expect(await get(server, "/readyz", {}, "HEAD")).toMatchObject({ status: 503, body: "" });
});

test.each([
  ["/", "GET", 404],
  ["/metrics/..", "GET", 404],
  ["/livez", "POST", 405],
  ["/livez", "DELETE", 405],
])("%s by %s is %i", async (path, method, status) => {
  expect(await get(await start(), path, {}, method)).toMatchObject({ status });
});

test.each([
  ["evil.example", 421],
  ["evil.example:80", 421],
  ["localhost.evil.example", 421],
  ["127.0.0.1.evil.example", 421],
  ["localhost:9464", 200],
  ["LOCALHOST", 200],
  ["10.1.2.3:9464", 200],
  ["[::1]:9464", 200],
  ["worker.internal:9464", 200],
])("a request under the name %j is answered with %i", async (host, status) => {
  const server = await start({ names: ["Worker.internal"] });

  expect(await get(server, "/livez", { host })).toMatchObject({ status });
});

test("listens on loopback only, unless told otherwise", async () => {
  const other = await start({ host: "::1" });

  await expect(get(other, "/livez")).rejects.toThrow("ECONNREFUSED");
});

test("a port that is taken is said", async () => {
  const { port } = await start();

  await expect(start({ port: port! })).rejects.toMatchObject({
    code: "USAGE",
    message: `Can't listen for health on 127.0.0.1:${port}: EADDRINUSE`,
  });
});

test("stops at once, whoever is still connected, and twice without harm", async () => {
  const server = await start();
  const socket = connect(server.port!, "127.0.0.1");
  await new Promise((resolve) => socket.once("connect", resolve));
  const cut = new Promise((resolve) => socket.once("close", resolve));
  socket.on("error", () => {});

  await server.stop();
  await server.stop();
  await cut;

  expect(server.port).toBeNull();
});
