/** A secret reaches the command that needs it, and nothing else. */
import { afterEach, beforeEach, expect, test } from "vitest";
import { type Finished, Workplace } from "../support/cli.js";

const SECRET = "hunter2-correct-horse-battery";

let place: Workplace;

beforeEach(() => {
  place = new Workplace();
  place.env.WAYMARK_SECRET_TOKEN = SECRET;
});

afterEach(async () => {
  expect(await place.violations()).toEqual([]);
  await place.close();
});

test("a secret is never stored and never printed, whatever the command does with it", async () => {
  place.write(
    "plan.yaml",
    `plan: leaky
defaults: { retry: { attempts: 1 } }
steps:
  - { id: uses, env: { TOKEN: "\${{ secrets.TOKEN }}" }, run: 'echo "{\\"length\\": \${#TOKEN}}"' }
  - { id: says, env: { TOKEN: "\${{ secrets.TOKEN }}" }, run: 'echo "the token is $TOKEN"; echo "$TOKEN" >&2' }
  - { id: splits, env: { TOKEN: "\${{ secrets.TOKEN }}" }, run: 'printf "%.9s" "$TOKEN"; sleep 0.5; printf "%s" "\${TOKEN#?????????}"' }
  - { id: outputs, env: { TOKEN: "\${{ secrets.TOKEN }}" }, run: 'echo "{\\"$TOKEN\\": [\\"x$TOKEN\\"]}"' }
  - { id: fails, env: { TOKEN: "\${{ secrets.TOKEN }}" }, run: 'echo "bad token $TOKEN" >&2; exit 1' }
`,
  );

  const said: Finished[] = [await place.plan("run", "plan.yaml", "--id", "p1", "--debug")];
  expect(said[0]!.code).toBe(1);
  for (const command of [["get"], ["history"], ["logs"], ["resume", "--dry-run"], ["watch"]]) {
    said.push(await place.plan(command[0]!, "p1", ...command.slice(1)));
    said.push(await place.plan(command[0]!, "p1", ...command.slice(1), "-o", "json"));
  }
  const log = (await place.plan("logs", "p1")).stdout;

  expect(await place.json("history", "p1")).toContainEqual(
    expect.objectContaining({ type: "step.failed", step: "fails" }),
  );
  expect(log).toContain(`{"length": ${SECRET.length}}`);
  expect(log).toContain("the token is ***");
  for (const { stdout, stderr } of said) expect(stdout + stderr).not.toContain(SECRET);
  const redis = await place.redis();
  for (const key of await redis.keys("*")) expect(JSON.stringify(await everythingIn(key)), key).not.toContain(SECRET);
  for (const dump of (await place.dump()).values()) expect(Buffer.from(dump, "base64").includes(SECRET)).toBe(false);
});

test("a plan that asks for a secret which this worker lacks fails, and names the variable", async () => {
  place.write(
    "plan.yaml",
    `plan: lacking\nsteps:\n  - { id: one, env: { KEY: "\${{ secrets.NOT_HERE }}" }, run: "true" }\n`,
  );

  const run = await place.plan("run", "plan.yaml");

  expect(run.code).toBe(1);
  expect(run.stderr).toContain("WAYMARK_SECRET_NOT_HERE");
});

test("a command sees none of Waymark's and Redis's settings", async () => {
  place.env.WAYMARK_LOG_LEVEL = "warn";
  place.env.REDIS_PASSWORD = SECRET;
  place.write(
    "plan.yaml",
    `plan: nosy\nsteps:\n  - { id: one, run: "env | cut -d= -f1 | grep -ciE 'waymark_|redis' || true" }\n`,
  );

  const run = await place.plan("run", "plan.yaml", "-o", "json");

  expect(JSON.parse(run.stdout)).toMatchObject({ state: "completed", output: 0 });
});

/** The values behind a key as text: DUMP compresses long ones. */
async function everythingIn(key: string): Promise<unknown> {
  const redis = await place.redis();
  switch (await redis.type(key)) {
    case "string":
      return redis.get(key);
    case "hash":
      return redis.hgetall(key);
    case "list":
      return redis.lrange(key, 0, -1);
    case "zset":
      return redis.zrange(key, "0", "-1");
    case "set":
      return redis.smembers(key);
    case "stream":
      return redis.xrange(key, "-", "+");
    default:
      return null;
  }
}
