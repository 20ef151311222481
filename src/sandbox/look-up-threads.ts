/**
 * Threads that help a snapshot to look its files up: a call waits for the file system, and several can. They start once a
 * directory was found to be large, for the next snapshot of it, and end when nobody has needed them for a while.
 *
 * They only help. What one can't do, for whatever reason, is done again by who asked, where the reason can be said.
 */
import type { MessagePort, Worker } from "node:worker_threads";
import { startThread } from "../machine/start-thread.js";
import { Beneath } from "./beneath.js";
import type { BytePath } from "./byte-path.js";
import { type Listing, lookUp } from "./look-up.js";
import { TimeSlices } from "./time-slices.js";

/** Of these directories, all beneath a root that is to be this very one. */
export interface LookUpRequest {
  readonly root: string;
  readonly dev: number;
  readonly ino: number;
  readonly directories: readonly BytePath[];
}

/** In the order of the request; null where that wasn't possible. */
export type LookUpReply = readonly Listing[] | null;

const READY = "ready";
const THREADS = 3;
/** With one to go on with, a thread needn't wait until its answer was looked at. */
const REQUESTS_PER_THREAD = 2;
/** Below that it is done sooner without. */
const LARGE_ENTRIES = 2_000;

interface Question {
  readonly request: LookUpRequest;
  readonly answer: (reply: LookUpReply) => void;
}

export class LookUpThreads {
  private threads: LookUpThread[] = [];
  private readonly waiting: Question[] = [];
  private idle: NodeJS.Timeout | null = null;

  /** @param idleMs how long they are kept after they were last expected to be needed */
  constructor(private readonly idleMs = 60_000) {}

  /** Says how large a directory was that will probably be looked up again. */
  expect(entries: number): void {
    if (entries < LARGE_ENTRIES) return;
    this.threads = this.threads.filter((thread) => !thread.hasEnded);
    while (this.threads.length < THREADS) this.threads.push(new LookUpThread(() => this.share()));
    if (this.idle !== null) clearTimeout(this.idle);
    this.idle = setTimeout(() => this.end(), this.idleMs).unref();
  }

  get areReady(): boolean {
    return this.threads.some((thread) => thread.isReady);
  }

  ask(request: LookUpRequest): Promise<LookUpReply> {
    return new Promise((answer) => {
      this.waiting.push({ request, answer });
      this.share();
    });
  }

  end(): void {
    for (const thread of this.threads) thread.end();
  }

  /** The first that was asked goes to whoever has the least to do. */
  private share(): void {
    for (let asked = 0; asked < REQUESTS_PER_THREAD; asked++) {
      for (const thread of this.threads) {
        if (thread.isReady && thread.asked === asked && this.waiting.length > 0) thread.ask(this.waiting.shift()!);
      }
    }
    if (!this.areReady) for (const { answer } of this.waiting.splice(0)) answer(null);
  }
}

class LookUpThread {
  private readonly worker: Worker;
  private state: "starting" | "ready" | "ended" = "starting";
  private readonly questions: Question[] = [];

  /** @param onChange it can take more, or has ended */
  constructor(onChange: () => void) {
    this.worker = startThread(new URL("./look-up-thread", import.meta.url), null);
    this.worker.unref();
    this.worker.on("message", (message: LookUpReply | typeof READY) => {
      if (message === READY) this.state = "ready";
      else this.questions.shift()!.answer(message);
      if (this.questions.length === 0) this.worker.unref();
      onChange();
    });
    // It ends with an error of its own, and that would be the whole process's if nobody listened.
    this.worker.on("error", () => {});
    this.worker.once("exit", () => {
      this.state = "ended";
      for (const { answer } of this.questions.splice(0)) answer(null);
      onChange();
    });
  }

  get isReady(): boolean {
    return this.state === "ready";
  }

  get hasEnded(): boolean {
    return this.state === "ended";
  }

  /** How many questions it has still to answer. */
  get asked(): number {
    return this.questions.length;
  }

  ask(question: Question): void {
    // Who waits for it may wait for nothing else.
    this.worker.ref();
    this.questions.push(question);
    this.worker.postMessage(question.request);
  }

  end(): void {
    void this.worker.terminate();
  }
}

/** The thread's own part. */
export function answerLookUps(port: MessagePort): void {
  port.postMessage(READY);
  // One after the other, because answers are told apart by their order.
  let last = Promise.resolve();
  port.on("message", (request: LookUpRequest) => {
    last = last
      .then(() => listAll(request))
      .catch(() => null)
      .then((reply) =>
        port.postMessage(
          reply,
          reply?.map(({ numbers }) => numbers.buffer as ArrayBuffer),
        ),
      );
  });
}

async function listAll({ root, dev, ino, directories }: LookUpRequest): Promise<LookUpReply> {
  const slices = new TimeSlices(undefined);
  const beneath = new Beneath(root);
  try {
    const { rootStat } = beneath;
    if (rootStat.dev !== dev || rootStat.ino !== ino) return null;
    const listings: Listing[] = [];
    for (const directory of directories) listings.push(await lookUp(beneath, directory, slices));
    return listings;
  } finally {
    beneath.close();
  }
}
