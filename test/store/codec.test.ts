/** What stands in Redis and was not written by our scripts is refused, and says where it stands. */
import { describe, expect, test } from "vitest";
import {
  decodeError,
  decodeEvent,
  decodeFetch,
  decodeMeta,
  decodeOpenStep,
  decodeOrigin,
  decodeRecord,
  decodeWorker,
  encodeEvent,
  encodeRecord,
  pairs,
  snapshotsNamed,
  tokenWorker,
} from "../../src/store/codec.js";

const BASE = { planId: "p", createdAt: 1_000, tag: "01J", snapshots: [] };

const BESIDE = { workdir: "", stop: "" };

const META = {
  name: "web",
  version: "3",
  state: "running",
  epoch: "1",
  line: "1",
  fence: "1000",
  revision: "2",
  definition: "d1",
  total: "2",
  done: "1",
  phase: "execute",
  last_completed_step: "",
  last_checkpoint_id: "",
  last_decision_id: "dec_1",
  sandbox: "",
  answers: "0",
  resume_count: "0",
  created: "1000",
  updated: "1200",
  tag: "01J",
};

describe("a plan's hash", () => {
  test("without optional fields is a plan that has not ended, of nobody in particular", () => {
    expect(decodeMeta("p", new Map(Object.entries(META)), BESIDE)).toMatchObject({
      finishedAt: null,
      privateQueue: null,
      actor: "",
      lastCompletedStep: null,
      lastCheckpointId: null,
    });
  });

  test.each(Object.keys(META))("without %s is refused", (field) => {
    const hash = new Map(Object.entries(META));
    hash.delete(field);
    expect(() => decodeMeta("p", hash, BESIDE)).toThrow(`plan p: no field ${field}`);
  });

  test.each([
    ["state", "dancing", "state dancing"],
    ["epoch", "1.5", '"1.5" is not a number'],
    ["epoch", "", '"" is not a number'],
    ["created", "99999999999999999", "is not a number"],
  ])("with %s %j is refused", (field, value, message) => {
    const hash = new Map(Object.entries({ ...META, [field]: value }));
    expect(() => decodeMeta("p", hash, BESIDE)).toThrow(message);
  });
});

test.each([
  ["amy@box|lunch | and more", "1", { by: "amy@box", reason: "lunch | and more", pending: true }],
  ["amy@box|", "", { by: "amy@box", reason: null, pending: false }],
])("who stopped a plan is read from %j", (stop, pausing, read) => {
  const hash = new Map(Object.entries({ ...META, pausing }));

  expect(decodeMeta("p", hash, { ...BESIDE, stop }).stop).toEqual(read);
});

describe("an open step", () => {
  const open = (state: string, due = "", wait = "") =>
    decodeOpenStep("a", `${state}|2|1|0|1|w1.0:3|50|${due}|${wait}|work|apply|7|i`, 1_000);

  test.each([
    ["q", { kind: "queued" }],
    ["b", { kind: "backlog" }],
    ["h", { kind: "held" }],
    ["d", { kind: "delayed", dueAt: 1_050, rate: null }],
    ["u", { kind: "uncertain", workerId: "w1", since: 1_050 }],
    ["r", { kind: "running", workerId: "w1", startedAt: 1_050 }],
    ["f", { kind: "failed", failedAt: 1_050, quarantined: false }],
  ])("in state %s is read with its facts", (state, facts) => {
    expect(open(state)).toEqual({
      stepId: "a",
      attempts: 2,
      failures: 1,
      crashes: 0,
      line: 1,
      queue: "work",
      phase: "apply",
      effect: "irreversible",
      ...facts,
    });
  });

  test.each([
    ["a", "approval"],
    ["s", "signal"],
    ["t", "timer"],
  ])("that waits with %s waits for %s", (letter, wait) => {
    expect(open("w", "90", letter)).toMatchObject({ kind: "waiting", wait, dueAt: 1_090, since: 1_050 });
  });

  test("that waits for a limit, or that its rate delays, says which", () => {
    const limited = (state: string, at: string, limits: string) =>
      decodeOpenStep("a", `${state}|0|0|0|1||${at}|90||work|apply|7|i|${limits}`, 1_000);

    expect(limited("l", "", "api:3|")).toMatchObject({ limit: { kind: "concurrency", key: "api", limit: 3 } });
    const rate = { key: "api.v2", max: 10, perMs: 60_000 };
    expect(limited("k", "", "api:3|api.v2:10:60000")).toMatchObject({ limit: { kind: "rate", ...rate } });
    expect(limited("d", "", "|api.v2:10:60000")).toMatchObject({ kind: "delayed", dueAt: 1_090, rate });
    expect(limited("d", "50", "|api.v2:10:60000")).toMatchObject({ kind: "delayed", rate: null });
    expect(() => limited("l", "", "|api:1:1")).toThrow("open step a");
    expect(() => limited("k", "", "api:3|")).toThrow("open step a");
  });

  test.each([
    "x|2|1|0|1|w1.0:3|50|||work|apply|7|i",
    "q|2|1|0|1|w1.0:3|50|||work|apply|7|i|api:3",
    "w|2|1|0|1|w1.0:3|50|90|z|work|apply|7|i",
    "q|2|one|0|1|w1.0:3|50|||work|apply|7|i",
    "q|2|1|0|1|w1.0:3|50|||work|apply|7",
    "",
  ])("of the form %j is refused", (text) => {
    expect(() => decodeOpenStep("a", text, 1_000)).toThrow("open step a");
  });
});

describe("a record", () => {
  test("is of a step that was completed, or skipped", () => {
    expect(decodeRecord("a", "c|2|1|w1.0:3|50|20|5", 1_000)).toEqual({
      stepId: "a",
      kind: "completed",
      attempts: 2,
      line: 1,
      workerId: "w1",
      startedAt: 1_050,
      durationMs: 20,
      fence: 1_055,
    });
    expect(decodeRecord("a", "n|0|1||50|0|0", 1_000)).toMatchObject({ kind: "skipped", workerId: "" });
    expect(decodeRecord("a", "o|3|1|w1.0:3|50|0|0", 1_000)).toMatchObject({ kind: "continued", attempts: 3 });
  });

  test.each(["x|2|1|w|50|20|5", "c|2|1|w|50|20", "c|2|1|w|50|20|"])("of the form %j is refused", (text) => {
    expect(() => decodeRecord("a", text, 1_000)).toThrow("record of step a");
  });
});

describe("an event", () => {
  test.each([
    ["s|5|1|a|1|0|w1", { type: "step.started", step: "a", attempt: 1, fence: 1_000, workerId: "w1" }],
    ["a|5|1|a|1", { type: "step.admitted", step: "a", attempt: 1 }],
    ["n|5|1|a|1|0|0|", { type: "step.skipped", step: "a", fence: 1_000, sandbox: null }],
    ["o|5|1|a|2|0|0|", { type: "step.continued", step: "a", attempt: 2 }],
    ["f|5|1|a|1|0||{}", { type: "step.failed", final: false, retryInMs: null }],
    ["f|5|1|a|1|1|20|{}", { type: "step.failed", final: true, retryInMs: 20 }],
    ["r|5|1|a|1|drain", { type: "step.released", reason: "drain" }],
    ["x|5|1|a|1|w1", { type: "step.crashed", workerId: "w1" }],
    ["w|5|1|a|1|t|90", { type: "step.waiting", wait: "timer", dueAt: 1_090 }],
    ["w|5|1|a|1|s|", { type: "step.waiting", wait: "signal", dueAt: null }],
    ["p|5|1|ada|why|not", { type: "plan.pause_requested", actor: "ada", reason: "why|not" }],
    ["X|5|1|ada|", { type: "plan.cancelled", actor: "ada", reason: null }],
    ["R|5|2|ada||3|", { type: "plan.resumed", actor: "ada", from: null, superseded: 3, reason: null }],
    ["R|5|2|ada|step a|3|again", { type: "plan.resumed", from: "step a", reason: "again" }],
    ["z|5|1|paused", { type: "plan.paused" }],
  ])("such as %s is read", (text, facts) => {
    expect(decodeEvent(BASE, 4, text)).toMatchObject({ seq: 4, at: 1_005, planId: "p", ...facts });
  });

  test.each([
    "",
    "s",
    "s|5|1|a|1|0",
    "x|5|1|a|1",
    "w|5|1|a|1",
    "w|5|1|a|1|z|",
    "d|5|1|a|1",
    "z|5|1",
    "z|5|1|dancing",
    "?|5|1|a",
    "s|5|1",
  ])("such as %j is refused", (text) => {
    expect(() => decodeEvent(BASE, 4, text)).toThrow(/event 4 of plan p/);
  });
});

test("an error that isn't ours is shown as it is", () => {
  expect(decodeError('{"code":"E","message":"m","more":1}')).toEqual({ code: "E", message: "m" });
  expect(decodeError('{"code":"E"}')).toEqual({ code: "STEP_FAILED", message: '{"code":"E"}' });
  expect(decodeError("half {")).toEqual({ code: "STEP_FAILED", message: "half {" });
});

test("a worker of which only the beat is left is shown by its id", () => {
  const view = decodeWorker({ workerId: "w1", beatAt: 900, info: new Map() }, 1_000, 3_000, false);
  expect(view).toEqual({
    workerId: "w1",
    label: "w1",
    pid: 0,
    state: "accepting",
    plans: [],
    queues: [],
    concurrency: 0,
    startedAt: 0,
    lastSeenAt: 900,
    alive: true,
    active: 0,
  });
});

test("a worker is dead when it was silent for too long, or is known to be gone", () => {
  const reply = { workerId: "w1", beatAt: 1_000, info: new Map([["state", "draining"]]) };
  expect(decodeWorker(reply, 3_999, 3_000, false)).toMatchObject({ alive: true, state: "draining" });
  expect(decodeWorker(reply, 4_000, 3_000, false).alive).toBe(false);
  expect(decodeWorker(reply, 1_001, 3_000, true).alive).toBe(false);
});

test("a fetch that finds a stranger's job hands over its hash", () => {
  expect(decodeFetch(["OK", "5", "7", "foreign", ["name", "theirs"]], "w.0:1", "work")).toEqual({
    verdict: "OK",
    now: 5,
    next: { kind: "foreign", jobId: "7", hash: ["name", "theirs"] },
  });
});

test("a token names its worker before the first dot, and a hash of an odd length ends with its last pair", () => {
  expect(tokenWorker("w1.0:3")).toBe("w1");
  expect(tokenWorker("person")).toBe("person");
  expect([...pairs(["a", "1", "b"])]).toEqual([["a", "1"]]);
});

test("an event knows how many snapshots its plan must have; a snapshot that is not among them is none", () => {
  expect(["c|1|1|s|1|5|1||3", "K|1|1|2", "s|1|1|s|1|5|w"].map(snapshotsNamed)).toEqual([3, 2, 0]);

  expect(decodeEvent(BASE, 1, "K|1|1|2")).toMatchObject({ type: "sandbox.kept", sandbox: null });
  expect(decodeEvent(BASE, 1, "c|1|1|s|1|5|1||3")).toMatchObject({ type: "step.completed", sandbox: null });
});

describe("what a fork inherits", () => {
  const snapshot = { provider: "directory", digest: "sha256:1", files: 1, bytes: 1 };
  const inherited = [
    "S|-900|1|ada",
    "F|-800|1|ada|web-41|7|1|step build|2",
    "F|-800|1|ada|web-41|7||",
    "s|-700|1|build|1|-700|w1",
    'f|-690|1|build|1|0|50|{"code":"STEP_FAILED","message":"a|b"}',
    'f|-680|1|build|2|1||{"code":"STEP_FAILED","message":"no"}',
    "r|-670|1|build|3|drain",
    "x|-660|1|build|4|w1",
    "w|-650|1|build|5|s|-100",
    "w|-650|1|build|5|a|",
    "d|-640|1|build|1|ada",
    "c|-630|1|build|5|-640|1|",
    "c|-630|1|build|5|-640|0|ada|1",
    "g|-620|1|build|x y",
  ];

  test.each(inherited)("%s is written as the scripts write it", (text) => {
    const base = { ...BASE, snapshots: [snapshot] };
    const event = decodeEvent(base, 1, text);
    const decisions = new Map(
      "decisionId" in event ? [[event.decisionId, Number(text.split("|")[text[0] === "d" ? 4 : 6])]] : [],
    );

    expect(encodeEvent({ createdAt: 1_000, decisions, snapshots: new Map([["sha256:1", 1]]) }, event)).toBe(text);
  });

  test("is nothing that happened to the whole plan", () => {
    const event = decodeEvent(BASE, 1, "R|1|2|ada||0|");
    const base = { createdAt: 1_000, decisions: new Map(), snapshots: new Map() };
    expect(() => encodeEvent(base, event)).toThrow("plan.resumed is no event that a plan inherits");
  });

  test.each(["c|2|1|w1|-20|3|-4", "n|1|1|w1|-20|0|0", "o|3|1|w1|-20|5|0"])("the record %s is what it was", (text) => {
    expect(encodeRecord(decodeRecord("a", text, 1_000), 1_000)).toBe(text);
  });

  test("says whose it was", () => {
    expect(decodeOrigin("p", "web-41 7 step build")).toEqual({ planId: "web-41", epoch: 7, from: "step build" });
    expect(decodeOrigin("p", "web-41 7")).toEqual({ planId: "web-41", epoch: 7, from: null });
    expect(decodeOrigin("p", "")).toBeNull();
    for (const text of ["../x 7", "web-41", "web-41 x"]) expect(() => decodeOrigin("p", text)).toThrow("plan p, fork");
  });
});
