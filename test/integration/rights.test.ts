/** Users with the rights that docs/operating.md names and no other: what they name is enough, and none is too many. */
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { connect } from "../../src/store/connect.js";
import { ACT_RUN, Workplace } from "../support/cli.js";
import { documentedRules } from "../support/documented-rules.js";
import { type PrivateRedis, startPrivateRedis } from "../support/private-redis.js";
import { until } from "../support/until.js";

// On a busy machine servers and processes take their time to start.
vi.setConfig({ testTimeout: 90_000, hookTimeout: 90_000 });

let server: PrivateRedis;
let place: Workplace;

beforeAll(async () => {
  server = await startPrivateRedis();
  place = new Workplace();
  const admin = await connect({ url: server.url, patient: false });
  for (const user of ["waymark", "waymark-reader"]) {
    await admin.call("ACL", "SETUSER", user, "on", ">pw", ...documentedRules(user));
  }
  admin.disconnect();
  place.write(
    "plan.yaml",
    `plan: orders
steps:
  - { id: one, run: "${ACT_RUN}" }
  - { id: sign, uses: approve, with: { message: "Go on?" } }
  - { id: nap, uses: sleep, with: { for: 20ms } }
  - { id: two, retry: { attempts: 2, delay: 10ms }, run: "${ACT_RUN}" }
`,
  );
});

afterAll(async () => {
  await place.close();
  await server.stop();
});

test("with the documented rights everything works: workers, takeover, drain, resume, and every command", async () => {
  as("waymark");
  const [first, second] = [place.start(worker()), place.start(worker())];
  await ok("submit", "plan.yaml", "--id", "p1");
  await until("the question", async () => (await place.json("get", "p1")).state === "waiting");
  await ok("approve", "p1", "sign");
  place.hold("two");
  await ok("submit", "plan.yaml", "--id", "p2");
  await until("the second question", async () => (await place.json("get", "p2")).state === "waiting");
  await ok("approve", "p2", "sign");
  await place.untilBegun("two");
  await place.kill(first);
  place.free("two");
  await until("both to be completed", async () => {
    const plans = await place.json<{ state: string }[]>("list");
    return plans.every(({ state }) => state === "completed");
  });
  await ok("submit", "plan.yaml", "--id", "p3");
  await ok("pause", "p3");
  await ok("resume", "p3", "--detach");
  await ok("cancel", "p3");
  await ok("doctor");
  second.signal("SIGTERM");

  const drained = await second.finished;

  expect(drained.code, drained.stderr).toBe(0);
  expect(drained.stderr).not.toMatch(/NOPERM|ACL/);
  const admin = await connect({ url: server.url, patient: false });
  const refused = ((await admin.call("ACL", "LOG")) as string[][]).map((entry) => entry.join(" "));
  expect(refused).toEqual([]);
  await admin.call("ACL", "LOG", "RESET");
  admin.disconnect();
});

test("they reach no other prefix, and nothing that manages the server", async () => {
  const redis = await connect({ url: urlOf("waymark"), patient: false });

  for (const command of [
    ["SET", "other", "1"],
    ["FLUSHALL"],
    ["KEYS", "*"],
    ["CONFIG", "SET", "maxmemory", "1"],
    ["SHUTDOWN"],
  ]) {
    await expect(redis.call(...(command as [string]))).rejects.toThrow("NOPERM");
  }
  redis.disconnect();
});

test("a reader reads, and is told which rights a write needs", async () => {
  as("waymark-reader");
  for (const command of [["list"], ["get", "p1"], ["history", "p1"], ["workers"], ["resume", "p1", "--dry-run"]]) {
    const { code, stderr } = await place.plan(...command, "-o", "json");
    expect([0, 3], `${command.join(" ")}: ${stderr}`).toContain(code);
  }

  const { code, stderr } = await place.plan("cancel", "p1");

  expect(code).toBe(6);
  expect(stderr).toMatch(/^Error: STORE_UNSUITABLE: This user of Redis may not do that.*NOPERM/);
  expect(stderr).not.toContain("pw");
});

function as(user: string): void {
  place.env.WAYMARK_REDIS_URL = urlOf(user);
}

function urlOf(user: string): string {
  return server.url.replace("//", `//${user}:pw@`);
}

function worker(): string[] {
  return ["worker", "--plans", "plan.yaml"];
}

async function ok(...command: string[]): Promise<void> {
  const { code, stderr } = await place.plan(...command);
  expect(code, `${command.join(" ")}: ${stderr}`).toBe(0);
}
