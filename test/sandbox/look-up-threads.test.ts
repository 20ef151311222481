/** A scan with threads finds what one without finds, and does without them where they can't help. */
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { MessageChannel } from "node:worker_threads";
import { afterEach, expect, test } from "vitest";
import { Beneath } from "../../src/sandbox/beneath.js";
import { FileRules } from "../../src/sandbox/file-rules.js";
import {
  answerLookUps,
  type LookUpReply,
  type LookUpRequest,
  LookUpThreads,
} from "../../src/sandbox/look-up-threads.js";
import { scan } from "../../src/sandbox/scan.js";
import { DEFAULT_LIMITS } from "../../src/sandbox/snapshot-provider.js";
import { TimeSlices } from "../../src/sandbox/time-slices.js";
import { until } from "../support/until.js";
import { ALL, aFolder } from "./a-tree.js";

const ends: (() => void)[] = [];

afterEach(() => {
  for (const end of ends.splice(0)) end();
});

test("they find the same, in the same order", async () => {
  const tree = aLargeTree();
  const alone = await scanOf(tree);
  const threads = await readyThreads();

  expect(await scanOf(tree, threads)).toEqual(alone);

  expect(alone.found.length).toBeGreaterThan(1_500);
});

test("several scans may have them at once", async () => {
  const [one, other] = [aLargeTree(), aLargeTree("other")];
  const threads = await readyThreads();

  const found = await Promise.all([one, other, one].map((tree) => scanOf(tree, threads)));

  expect(found).toEqual([await scanOf(one), await scanOf(other), found[0]]);
});

test("what they are asked when they end is found without them", async () => {
  const tree = aLargeTree();
  const threads = await readyThreads();

  const scanning = scanOf(tree, threads);
  threads.end();

  expect(await scanning).toEqual(await scanOf(tree));
  await until("their end", () => !threads.areReady);
  expect(await threads.ask(requestOf(tree, [""]))).toBeNull();
});

test("they end when nobody has needed them for a while, and start again", async () => {
  const threads = await readyThreads(50);

  await until("their end", () => !threads.areReady);

  await areReady(threads);
}, 120_000);

test("small directories start none", async () => {
  const threads = new LookUpThreads();

  threads.expect(100);

  expect(threads.areReady).toBe(false);
  expect(await threads.ask(requestOf(aLargeTree(), [""]))).toBeNull();
});

test("a refusal names what is wrong, although a thread met it", async () => {
  const tree = aLargeTree();
  const threads = await readyThreads();
  mkdirSync(join(tree, "d/".repeat(300)), { recursive: true });

  await expect(scanOf(tree, threads)).rejects.toThrow(/more than 200 directories deep/);
});

test("a directory that is gone by now is no error of the file system's, but a refusal", async () => {
  const tree = aLargeTree();
  const threads = await readyThreads();
  class Removing extends FileRules {
    override verdict(path: string, isDirectory: boolean) {
      if (path === "9") rmSync(join(tree, "9"), { recursive: true, force: true });
      return super.verdict(path, isDirectory);
    }
  }
  const beneath = new Beneath(tree);

  for (const helpers of [null, threads]) {
    const scanning = scan(beneath, new Removing(ALL), DEFAULT_LIMITS, new TimeSlices(undefined), helpers);
    await expect(scanning).rejects.toMatchObject({ code: "SANDBOX_UNSUPPORTED", path: "9" });
    mkdirSync(join(tree, "9"));
  }
  beneath.close();
});

test("a thread answers in order, and says null where it can't or where the directory is another one", async () => {
  const tree = aLargeTree();
  symlinkSync("nowhere", join(tree, "link"));
  const { port1, port2 } = new MessageChannel();
  ends.push(() => port1.close());
  const replies: LookUpReply[] = [];
  port1.on("message", (reply) => {
    if (reply !== "ready") replies.push(reply);
  });
  answerLookUps(port2);

  port1.postMessage(requestOf(tree, [""]));
  port1.postMessage(requestOf(tree, ["gone"]));
  port1.postMessage({ ...requestOf(tree, [""]), ino: 1 });
  port1.postMessage(requestOf(tree, ["0", "1"]));
  await until("four replies", () => replies.length === 4);

  const [root, gone, another, two] = replies;
  expect(root![0]!.names).toContain("link");
  expect([...root![0]!.targets.values()]).toEqual(["nowhere"]);
  expect([gone, another]).toEqual([null, null]);
  expect(two!.map(({ names }) => names.length)).toEqual([31, 31]);
});

function scanOf(tree: string, threads: LookUpThreads | null = null) {
  const beneath = new Beneath(tree);
  return scan(
    beneath,
    new FileRules({ ...ALL, exclude: ["7/"] }),
    DEFAULT_LIMITS,
    new TimeSlices(undefined),
    threads,
  ).finally(() => beneath.close());
}

async function readyThreads(idleMs?: number): Promise<LookUpThreads> {
  const threads = new LookUpThreads(idleMs);
  ends.push(() => threads.end());
  await areReady(threads);
  return threads;
}

/** Expects them until they are there: what starts slowly must not be idle for too long meanwhile. */
function areReady(threads: LookUpThreads): Promise<true> {
  const expected = () => {
    threads.expect(100_000);
    return threads.areReady;
  };
  return until("the threads", expected, 60_000);
}

function requestOf(root: string, directories: string[]): LookUpRequest {
  const beneath = new Beneath(root);
  const { dev, ino } = beneath.rootStat;
  beneath.close();
  return { root, dev, ino, directories };
}

/** Removed after the test. */
function aLargeTree(text = "text"): string {
  const tree = aFolder();
  for (let folder = 0; folder < 50; folder++) {
    mkdirSync(join(tree, `${folder}/ünder`), { recursive: true });
    for (let file = 0; file < 30; file++) writeFileSync(join(tree, `${folder}/${file}`), `${text} ${folder}`);
    symlinkSync(`../${folder}`, join(tree, `${folder}/ünder/link`));
  }
  rmSync(join(tree, "8/3"));
  return tree;
}
