import http, { type IncomingMessage, type RequestListener, type ServerResponse } from "node:http";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { NonRetryableError, RetryAfterError } from "../../src/core/errors.js";
import type { HandlerCall } from "../../src/core/handler.js";
import type { JsonObject } from "../../src/core/json.js";
import { guardedLookup } from "../../src/handlers/http-client.js";
import { builtinHandlers } from "../../src/handlers/index.js";
import { aCall } from "./handler-call.js";

const handler = builtinHandlers().get("http")!;
const LIMIT = 262_144;

interface Received {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingMessage["headers"];
  readonly body: string;
}

/** Two real servers on loopback; a redirect from one to the other crosses origins. */
let server: http.Server;
let other: http.Server;
let base: string;
let otherBase: string;
let received: Received[];
let answer: RequestListener;

beforeEach(async () => {
  received = [];
  answer = (_request, response) => response.end();
  server = await listen();
  other = await listen();
  base = baseOf(server);
  otherBase = baseOf(other);
});

afterEach(async () => {
  for (const each of [server, other]) {
    each.closeAllConnections();
    await new Promise((resolve) => each.close(resolve));
  }
});

describe("a request", () => {
  test("carries what the step says and the key of its attempts", async () => {
    answers(201, { "content-type": "application/json; charset=utf-8", "X-Request-Id": "r-1" }, '{"id": 7}');

    const result = await send({
      method: "post",
      url: `${base}/things?a=1`,
      headers: { "X-Team": "blue" },
      json: { n: [1] },
    });

    expect(result).toEqual({
      kind: "completed",
      output: { status: 201, headers: expect.objectContaining({ "x-request-id": "r-1" }), body: { id: 7 } },
    });
    expect(received).toEqual([{ method: "POST", url: "/things?a=1", headers: expect.anything(), body: '{"n":[1]}' }]);
    expect(received[0]!.headers).toMatchObject({
      "idempotency-key": "key-of-build",
      "x-team": "blue",
      "content-type": "application/json",
      "content-length": "9",
      "accept-encoding": "identity",
      "user-agent": "waymark",
      host: new URL(base).host,
    });
  });

  test("is a GET without a body unless the step says otherwise", async () => {
    await send({ url: base });
    await send({
      url: base,
      method: "PUT",
      body: "größe",
      headers: { "content-type": "text/plain", "IDEMPOTENCY-KEY": "mine" },
    });
    await send({ url: base, method: "POST", json: null });

    expect(received.map(({ method, body }) => [method, body])).toEqual([
      ["GET", ""],
      ["PUT", "größe"],
      ["POST", "null"],
    ]);
    expect(received[0]!.headers).not.toHaveProperty("content-type");
    expect(received[1]!.headers).toMatchObject({
      "content-length": "7",
      "content-type": "text/plain",
      "idempotency-key": "mine",
    });
  });

  test("is told in the log, without its query", async () => {
    const call = aRequest({ url: `${base}/a?token=s3cret` });
    await handler.run(call);
    expect(call.written).toEqual({ stdout: "", stderr: "", log: `GET ${base}/a answered 200 OK\n` });
  });
});

describe("the body of an answer", () => {
  test.each([
    ["application/json", "[1]", [1]],
    ["application/problem+json", '{"a":1}', { a: 1 }],
    ["application/json", "{broken", "{broken"],
    ["application/json", "1e999", "1e999"],
    ["application/jsonlines", "1", "1"],
    ["text/plain", '{"a":1}', '{"a":1}'],
    ["text/plain; charset=iso-8859-1", Buffer.from([0xe9]), "é"],
    ["text/plain; charset=klingon", "é", "é"],
    ["text/html", "<p>", "<p>"],
    ["text/plain", "", null],
  ])("of type %s: %j", async (type, body, expected) => {
    answers(200, { "content-type": type }, body);
    expect(await send({ url: base })).toHaveProperty("output.body", expected);
  });

  test("is none for HEAD, whatever length it would have", async () => {
    answers(200, { "content-length": "99999999", "content-type": "application/json" });
    expect(await send({ url: base, method: "HEAD" })).toHaveProperty("output.body", null);
  });

  test("may have 256 KiB in all as output, and is refused beyond, with the numbers", async () => {
    answers(200, { "content-length": String(LIMIT + 1) }, "x".repeat(LIMIT + 1));
    await expect(send({ url: base })).rejects.toThrow(
      refusal("HTTP_TOO_LARGE", `GET ${base}/ answered with a body of 262145 bytes; the limit is 262144`),
    );

    answer = (_request, response) => void response.write("x".repeat(LIMIT + 1), () => response.write("y"));
    await expect(send({ url: base })).rejects.toThrow(
      /^GET \S+ answered with a body of at least \d+ bytes; the limit is 262144$/,
    );

    answers(200, {}, "x".repeat(LIMIT));
    await expect(send({ url: base })).rejects.toThrow(
      /^GET \S+ answered with an output of 262\d\d\d bytes; the limit is 262144$/,
    );

    answers(200, {}, "x".repeat(LIMIT - 1_000));
    expect(await send({ url: base })).toHaveProperty("output.body.length", LIMIT - 1_000);
  });

  test("must not be compressed: that was not asked for", async () => {
    answers(200, { "content-encoding": "gzip" }, "zip");
    await expect(send({ url: base })).rejects.toThrow(
      refusal("HTTP_ENCODING", `GET ${base}/ answered in the encoding gzip, which was not asked for`),
    );
  });
});

describe("an answer that is no success", () => {
  test.each([408, 425, 429, 500, 502, 503, 504])("%i is tried again", async (status) => {
    answers(status, {}, "come back later");
    const call = aRequest({ url: `${base}/x` });

    const failure = await handler.run(call).catch((error) => error);

    expect(failure.message).toBe(`GET ${base}/x answered ${status} ${http.STATUS_CODES[status]}`);
    expect(failure).not.toBeInstanceOf(NonRetryableError);
    expect(failure).not.toBeInstanceOf(RetryAfterError);
    expect(failure.code).toBe(`HTTP_${status}`);
    expect(call.written.stderr).toBe("come back later\n");
  });

  test.each([400, 401, 403, 404, 409, 410, 422, 304, 300, 302])("%i fails the step", async (status) => {
    answers(status, { "retry-after": "1" });
    const failure = await send({ url: base }).catch((error) => error);
    expect(failure).toBeInstanceOf(NonRetryableError);
    expect(failure.code).toBe(`HTTP_${status}`);
  });

  test.each([
    ["0", 0],
    ["7", 7_000],
    ["99999999", 86_400_000],
    ["Thu, 01 Jan 1998 00:00:00 GMT", 0],
  ])("Retry-After: %s is honoured", async (header, delayMs) => {
    answers(429, { "retry-after": header });
    const failure = await send({ url: base }).catch((error) => error);
    expect(failure).toBeInstanceOf(RetryAfterError);
    expect(failure).toMatchObject({ delayMs, code: "HTTP_429" });
  });

  test("Retry-After may be a date", async () => {
    answers(503, { "retry-after": new Date(Date.now() + 100_000).toUTCString() });
    const failure = await send({ url: base }).catch((error) => error);
    expect(failure).toBeInstanceOf(RetryAfterError);
    expect(failure.delayMs).toBeGreaterThan(90_000);
    expect(failure.delayMs).toBeLessThanOrEqual(100_000);
  });

  test("Retry-After that is neither is passed over", async () => {
    answers(503, { "retry-after": "soon" });
    await expect(send({ url: base })).rejects.not.toBeInstanceOf(RetryAfterError);
  });

  test("is a success where the step expects it, and a success that it doesn't expect is none", async () => {
    answers(404, {}, "gone");
    expect(await send({ url: base, expect: [200, 404] })).toHaveProperty("output.status", 404);

    answers(302, { location: "/next" });
    expect(await send({ url: base, expect: [302] })).toHaveProperty("output.headers.location", "/next");

    answers(200);
    await expect(send({ url: base, expect: [201] })).rejects.toThrow(
      refusal("HTTP_200", `GET ${base}/ answered 200 OK`),
    );
  });

  test("leaves 4 KiB of its text in the log, though it is endless", async () => {
    answer = (_request, response) => {
      response.writeHead(500);
      const more = () => response.write("e".repeat(1_000), (error) => error || more());
      more();
    };
    const call = aRequest({ url: base });

    await expect(handler.run(call)).rejects.toThrow("500");

    expect(call.written.stderr).toBe(`${"e".repeat(4_096)}\n`);
  });

  test("is told although its text breaks off", async () => {
    answer = (_request, response) => {
      response.writeHead(503, { "retry-after": "2", "content-length": "100" });
      response.write("half", () => setImmediate(() => response.destroy()));
    };
    await expect(send({ url: base })).rejects.toMatchObject({ delayMs: 2_000 });
  });
});

describe("a connection that fails is tried again", () => {
  test("nobody listens", async () => {
    const gone = await listen();
    const url = `${baseOf(gone)}/x?key=s3cret`;
    await new Promise((resolve) => gone.close(resolve));

    const failure = await send({ url }).catch((error) => error);

    expect(failure.message).toMatch(/^GET http:\/\/127\.0\.0\.1:\d+\/x failed: connect ECONNREFUSED 127\.0\.0\.1:\d+$/);
    expect(failure).not.toBeInstanceOf(NonRetryableError);
    expect(failure.code).toBe("ECONNREFUSED");
  });

  test("the name is unknown", async () => {
    // No name has a part of 64 letters, so nobody is asked.
    const host = `${"a".repeat(64)}.invalid`;
    const failure = await send({ url: `http://${host}/?key=s3cret` }).catch((error) => error);
    expect(failure).not.toBeInstanceOf(NonRetryableError);
    expect(failure.message).toMatch(/^GET http:\/\/a+\.invalid\/ failed: getaddrinfo E\w+ a+\.invalid$/);
  });

  test("it breaks before the answer, within it, or isn't HTTP or TLS at all", async () => {
    answer = (request) => request.socket.destroy();
    await expect(send({ url: base })).rejects.toMatchObject({ message: `GET ${base}/ failed: ECONNRESET` });

    answer = (_request, response) => {
      response.writeHead(200, { "content-length": "100" });
      response.write("half", () => setImmediate(() => response.destroy()));
    };
    await expect(send({ url: base })).rejects.toMatchObject({ message: `GET ${base}/ failed: ECONNRESET` });

    const rude = createServer(
      (socket: Socket) =>
        void socket
          .on("error", () => {})
          .resume()
          .end("HELLO s3cret\r\n\r\n"),
    );
    await new Promise<void>((resolve) => rude.listen(0, "127.0.0.1", resolve));
    const rudeBase = `http://127.0.0.1:${(rude.address() as AddressInfo).port}`;
    await expect(send({ url: rudeBase })).rejects.toMatchObject({
      message: `GET ${rudeBase}/ failed: HPE_INVALID_CONSTANT`,
    });
    const secure = await send({ url: rudeBase.replace("http:", "https:") }).catch((error) => error);
    expect(secure.message).toMatch(/^GET https:\/\/127\.0\.0\.1:\d+\/ failed: \w+$/);
    expect(secure).not.toBeInstanceOf(NonRetryableError);
    await new Promise((resolve) => rude.close(resolve));
  });
});

describe("time", () => {
  test("is limited for the whole answer, redirects included", async () => {
    answer = (request, response) => {
      if (request.url === "/") return response.writeHead(302, { location: "/slow" }).end();
      response.writeHead(200);
      return response.write("begun");
    };

    const failure = await send({ url: base, timeout: "1s" }).catch((error) => error);

    expect(failure.message).toBe(`GET ${base}/slow had no complete answer within 1s`);
    expect(failure.code).toBe("HTTP_TIMEOUT");
    expect(failure).not.toBeInstanceOf(NonRetryableError);
  });

  test("an abort ends the request at once, for the reason that it gives", async () => {
    const abort = new AbortController();
    let closed = false;
    answer = (request) => void request.socket.on("close", () => (closed = true));

    const running = handler.run(aRequest({ url: base }, { signal: abort.signal }));
    running.catch(() => {});
    await vi.waitFor(() => expect(received).toHaveLength(1), 5_000);
    const reason = new Error("the plan was cancelled");
    abort.abort(reason);

    await expect(running).rejects.toBe(reason);
    await vi.waitFor(() => expect(closed).toBe(true), 5_000);
  });

  test("an abort before the start sends nothing", async () => {
    const signal = AbortSignal.abort(new Error("paused"));
    await expect(handler.run(aRequest({ url: base }, { signal }))).rejects.toThrow("paused");
    expect(received).toEqual([]);
  });
});

describe("an address that isn't public is refused", () => {
  test.each([
    ["http://127.0.0.1:$PORT/", "127.0.0.1", "loopback"],
    ["http://0x7f.1:$PORT/", "127.0.0.1", "loopback"],
    ["http://2130706433:$PORT/", "127.0.0.1", "loopback"],
    ["http://0:$PORT/", "0.0.0.0", "unspecified"],
    ["http://[::1]:$PORT/", "::1", "loopback"],
    ["http://[::ffff:127.0.0.1]:$PORT/", "::ffff:7f00:1", "loopback"],
    ["http://[64:ff9b::7f00:1]/", "64:ff9b::7f00:1", "loopback"],
    ["http://169.254.169.254/latest/meta-data", "169.254.169.254", "link-local"],
    ["https://10.0.0.1/", "10.0.0.1", "private"],
  ])("written as %s", async (template, host, kind) => {
    const url = template.replace("$PORT", new URL(base).port);

    const refused = send({ url, allow: ["example.com", "127.0.0.1:1", "192.168.0.0/16"] });

    await expect(refused).rejects.toThrow(
      refusal(
        "HTTP_ADDRESS",
        `GET ${new URL(url).origin}${new URL(url).pathname} goes to ${host}, ${kind === "unspecified" ? "an" : "a"} ${kind} address; list ${host} in allow if that is meant`,
      ),
    );
    expect(received).toEqual([]);
  });

  test("behind a name too: what is connected to is what was checked", async () => {
    const { port } = new URL(base);

    await expect(send({ url: `http://localhost:${port}/`, allow: ["127.0.0.1", "::1"] })).rejects.toThrow(
      /^localhost resolves to \S+, a loopback address; list localhost in allow if that is meant$/,
    );
    await expect(send({ url: `http://localhost:${port}/` })).rejects.toBeInstanceOf(NonRetryableError);
    expect(received).toEqual([]);
  });

  test("unless allow names the host, the host with its port, or its addresses", async () => {
    const { port } = new URL(base);
    const url = `http://localhost:${port}/`;

    for (const allow of [["localhost"], [`LOCALHOST:${port}`], ["127.0.0.0/8", "::1/128"]]) await send({ url, allow });
    await send({ url: base, allow: ["127.0.0.1/32"] });

    expect(received).toHaveLength(4);
  });

  test("again for each redirect", async () => {
    const targets = [`http://localhost:${new URL(base).port}/in`, "http://169.254.169.254/latest/", `${otherBase}/in`];
    for (const location of targets) {
      answers(302, { location });
      const refused = send({ url: base, allow: [new URL(base).host] });
      await expect(refused).rejects.toThrow(/a (loopback|link-local) address; list/);
      await expect(refused).rejects.toBeInstanceOf(NonRetryableError);
    }
    expect(received.map(({ url }) => url)).toEqual(["/", "/", "/"]);
  });

  test("where only one of a name's addresses isn't public", async () => {
    const mixed = guardedLookup([], (_host, _options, callback) =>
      callback(null, [
        { address: "93.184.216.34", family: 4 },
        { address: "fd00::1", family: 6 },
      ]),
    );
    await expect(look(mixed, { all: true })).rejects.toThrow(
      "mixed.example resolves to fd00::1, a private address; list mixed.example in allow if that is meant",
    );
  });

  test("and a public one is what the connection gets", async () => {
    const addresses = [
      { address: "93.184.216.34", family: 4 },
      { address: "2606:4700::1111", family: 6 },
    ];
    const open = guardedLookup([], (_host, _options, callback) => callback(null, addresses));

    expect(await look(open, { all: true })).toEqual([addresses]);
    expect(await look(open, {})).toEqual(["93.184.216.34", 4]);
  });

  test("a name without any address has none", async () => {
    const empty = guardedLookup([], (_host, _options, callback) => callback(null, []));
    await expect(look(empty, { all: true })).rejects.toMatchObject({ code: "ENOTFOUND" });
  });
});

describe("a redirect", () => {
  const SECRETS = {
    authorization: "Bearer s3cret",
    Cookie: "s=s3cret",
    "X-Api-Key": "s3cret",
    "x-team": "blue",
  };

  test.each([
    [301, "POST", "GET"],
    [302, "POST", "GET"],
    [303, "POST", "GET"],
    [303, "PUT", "GET"],
    [301, "PUT", "PUT"],
    [307, "POST", "POST"],
    [308, "POST", "POST"],
    [303, "HEAD", "HEAD"],
  ])("%i of a %s is a %s", async (status, method, then) => {
    answer = (request, response) => {
      if (request.url === "/") response.writeHead(status, { location: "next?x=1" });
      response.end();
    };

    await send({ url: base, method, ...(method === "HEAD" ? {} : { json: [1] }), headers: SECRETS });

    const isSame = method === then;
    expect(received[1]).toMatchObject({
      method: then,
      url: "/next?x=1",
      body: isSame && method !== "HEAD" ? "[1]" : "",
    });
    expect(received[1]!.headers["content-type"]).toBe(isSame ? received[0]!.headers["content-type"] : undefined);
    expect(received[1]!.headers).toMatchObject({ authorization: "Bearer s3cret", cookie: "s=s3cret" });
  });

  test("to another origin takes no credentials along, not even on the way back", async () => {
    answer = (request, response) => {
      const next = { "/": `${otherBase}/there`, "/there": `${base}/back` }[request.url!];
      response.writeHead(next ? 307 : 200, next ? { location: next } : {}).end();
    };

    await send({ url: base, method: "POST", body: "b", headers: SECRETS });

    expect(received.map(({ url }) => url)).toEqual(["/", "/there", "/back"]);
    for (const { headers } of received.slice(1)) {
      expect(JSON.stringify(headers)).not.toContain("s3cret");
      expect(headers).toMatchObject({ "x-team": "blue", "idempotency-key": "key-of-build" });
    }
  });

  test("is followed five times and no more", async () => {
    answer = (request, response) => {
      const turn = Number(request.url!.slice(1));
      response.writeHead(turn < 5 ? 302 : 200, turn < 5 ? { location: `/${turn + 1}` } : {}).end();
    };
    await send({ url: `${base}/0` });
    expect(received).toHaveLength(6);

    answers(302, { location: "/again" });
    await expect(send({ url: `${base}/a` })).rejects.toThrow(
      refusal("HTTP_REDIRECTS", `GET ${base}/a was redirected more than 5 times`),
    );
    expect(received).toHaveLength(12);
  });

  test.each(["ftp://example.com/", "file:///etc/passwd", "http://user:s3cret@example.com/", "http://["])(
    "to %s is refused",
    async (location) => {
      answers(302, { location });
      await expect(send({ url: base })).rejects.toThrow(
        refusal("HTTP_REDIRECTS", `GET ${base}/ redirects to what is no http or https URL, or has a password in it`),
      );
    },
  );
});

test("no message and no log holds the query of a URL or the value of a header", async () => {
  const input = {
    url: `${base}/p?api_key=s3cret#s3cret`,
    headers: { authorization: "Bearer s3cret", "x-odd": "s3cret" },
  };
  const told: string[] = [];
  const tell = async (more: JsonObject = {}) => {
    const call = aRequest({ ...input, ...more });
    const failure = await handler.run(call).catch((error) => error);
    expect(failure).toBeInstanceOf(Error);
    told.push(failure.message, failure.stack, JSON.stringify({ ...failure }), JSON.stringify(call.written));
  };

  for (const status of [400, 500, 302]) {
    answers(status, status === 302 ? { location: "ftp://x/?s3cret" } : { "retry-after": "1" });
    await tell();
  }
  answer = (request) => request.socket.destroy();
  await tell();
  answer = () => {};
  await tell({ timeout: 20 });
  answers(200, {}, "x".repeat(LIMIT + 1));
  await tell();
  await tell({ allow: ["other"] });
  await tell({ headers: { "x-odd": "s3cret\nX-Injected: 1" } });
  await tell({ headers: { "x odd": "s3cret" } });
  await tell({ url: "http://user:s3cret@127.0.0.1/" });
  await tell({ url: "s3cret" });

  expect(told.join("\n")).not.toContain("s3cret");
});

describe("the check of a document", () => {
  test.each<[JsonObject, string, string]>([
    [{}, "", "url is missing"],
    [{ url: "/relative" }, "url", "url must be an http or https URL without a user name or password"],
    [{ url: "ftp://x/" }, "url", "url must be an http or https URL without a user name or password"],
    [{ url: "http://me@x/" }, "url", "url must be an http or https URL without a user name or password"],
    [{ url: 3 }, "url", "url must be an http or https URL without a user name or password"],
    [
      { url: "http://x", method: "CONNECT" },
      "method",
      "method must be one of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
    ],
    [{ url: "http://x", headers: [] }, "headers", "headers must be an object of strings"],
    [{ url: "http://x", headers: { a: 1 } }, "headers.a", "headers.a must be a string of one line, in Latin-1"],
    [{ url: "http://x", headers: { a: "1\n2" } }, "headers.a", "headers.a must be a string of one line, in Latin-1"],
    [{ url: "http://x", headers: { "a b": "1" } }, 'headers["a b"]', 'headers["a b"] is not the name of a header'],
    [
      { url: "http://x", headers: { Host: "y" } },
      "headers.Host",
      "headers.Host can't be set: it is sent as the request needs it",
    ],
    [{ url: "http://x", headers: { a: "1", A: "2" } }, "headers.A", "headers.A is there twice"],
    [{ url: "http://x", body: {} }, "body", "body must be a string"],
    [{ url: "http://x", body: "", json: 1 }, "body", "json and body exclude each other"],
    [{ url: "http://x", timeout: "0s" }, "timeout", 'timeout must be a duration above 0, such as "30s"'],
    [{ url: "http://x", timeout: "fast" }, "timeout", 'timeout must be a duration above 0, such as "30s"'],
    [{ url: "http://x", allow: "y" }, "allow", "allow must be a list of hosts"],
    [{ url: "http://x", allow: [] }, "allow", "allow must be a list of hosts"],
    [{ url: "http://x", allow: ["y", "*"] }, "allow[1]", "allow[1] must be a host, host:port or CIDR"],
    [{ url: "http://x", expect: [200, 99] }, "expect[1]", "expect[1] must be a status from 200 to 599"],
    [
      { url: "http://x", retries: 3 },
      "retries",
      "unknown key retries; known are method, url, headers, json, body, timeout, allow, expect",
    ],
  ])("%j", async (input, path, message) => {
    expect(handler.check(input)).toEqual([{ path, message }]);
    await expect(handler.run(aCall(input))).rejects.toThrow(new NonRetryableError(`Step build can't run: ${message}`));
  });

  test("what holds an expression may become right; the attempt checks what it became", async () => {
    const later = `\${{ input.later }}`;
    const input = {
      url: `https://\${{ input.host }}/`,
      method: later,
      headers: { a: later },
      json: later,
      timeout: later,
    };
    expect(handler.check({ ...input, allow: [later], expect: [later] })).toEqual([]);
    expect(handler.check({ url: later, headers: later, allow: later, expect: later, body: later })).toEqual([]);

    const faults = handler.run(aCall({ url: later, headers: later, allow: later }));
    await expect(faults).rejects.toThrow(/url must be .*headers must be .*allow must be/);
  });
});

function aRequest(input: JsonObject, changes: Partial<HandlerCall> = {}) {
  return aCall({ allow: ["127.0.0.1"], ...input }, changes);
}

function send(input: JsonObject) {
  return handler.run(aRequest(input));
}

function refusal(code: string, message: string): Error {
  return Object.assign(new NonRetryableError(message), { code });
}

function answers(status: number, headers: Record<string, string> = {}, body: string | Buffer = ""): void {
  answer = (_request: IncomingMessage, response: ServerResponse) => response.writeHead(status, headers).end(body);
}

async function listen(): Promise<http.Server> {
  const created = http.createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const { method, url, headers } = request;
      received.push({ method: method!, url: url!, headers, body: Buffer.concat(chunks).toString() });
      answer(request, response);
    });
  });
  await new Promise<void>((resolve) => created.listen(0, "127.0.0.1", resolve));
  return created;
}

function baseOf(of: http.Server): string {
  return `http://127.0.0.1:${(of.address() as AddressInfo).port}`;
}

function look(lookup: ReturnType<typeof guardedLookup>, options: { all?: boolean }): Promise<unknown[]> {
  return new Promise((resolve, reject) => {
    lookup("mixed.example", options, (error, ...found) => (error ? reject(error) : resolve(found)));
  });
}
