/** The steps of a running plan on a terminal: what is done, what runs and for how long, what comes next. */
import type { EventDocument, PlanDocument, StepState } from "../../client/documents.js";
import type { PlanUpdate } from "../../client/follow-plan.js";
import { formatDurationMs } from "../../core/duration.js";
import { WAIT_WORDS } from "../../core/plan.js";
import type { TextSink } from "../io.js";
import { fitTo, LiveFrame } from "./live-frame.js";
import { DONE_STATES, stepMark } from "./marks.js";
import { printable } from "./printable.js";
import type { Colors } from "./terminal.js";

const REDRAW_MS = 100;
/** Plans up to this many steps are shown whole; of bigger ones the rows nearest to the frontier. */
const MOST_ROWS = 20;
const DONE_ROWS = 5;
const PENDING_ROWS = 4;
const QUIET: ReadonlySet<StepState> = new Set(["pending", "queued", "exclusive", "limited", "held"]);

interface Row {
  readonly id: string;
  state: StepState;
  startedAt: number | null;
  durationMs: number | null;
  note: string;
}

export class LiveTree {
  private readonly frame: LiveFrame;
  private readonly rows = new Map<string, Row>();
  private readonly order: Row[] = [];
  private readonly startedAt: number;
  private title: string;
  private timer: NodeJS.Timeout | null = null;

  constructor(
    private readonly sink: TextSink,
    private readonly c: Colors,
    plan: PlanDocument,
    now: number,
  ) {
    this.frame = new LiveFrame(sink);
    this.startedAt = now;
    this.title = `${printable(plan.planId)}  ${printable(plan.name)} v${plan.version}`;
    for (const { id, state, startedAt, durationMs } of plan.steps) {
      this.add({ id, state, startedAt: startedAt === null ? null : Date.parse(startedAt), durationMs, note: "" });
    }
    this.resume();
  }

  update({ events }: PlanUpdate): void {
    for (const event of events) this.apply(event);
    if (this.timer !== null) this.draw();
  }

  /** A lasting line above the tree. */
  print(text: string): void {
    this.frame.print(text);
    if (this.timer !== null) this.draw();
  }

  /** Keeps still while somebody types below it. */
  suspend(): void {
    if (this.timer === null) return;
    clearInterval(this.timer);
    this.timer = null;
    this.draw();
    this.frame.release();
  }

  resume(): void {
    this.timer ??= setInterval(() => this.draw(), REDRAW_MS);
    this.draw();
  }

  close(): void {
    this.suspend();
  }

  /** What is there already stays: the plan may have been read after it grew. */
  private add(row: Row): void {
    if (this.rows.has(row.id)) return;
    this.rows.set(row.id, row);
    this.order.push(row);
  }

  private apply(event: EventDocument): void {
    if (event.type === "steps.superseded") {
      for (const id of event.steps) {
        const row = this.rows.get(id);
        if (row) Object.assign(row, { state: "pending", note: "", startedAt: null, durationMs: null });
      }
    }
    if (event.type === "plan.grown") for (const id of event.appended) this.add(pendingRow(id));
    if (!("step" in event) || event.step === null) return;
    const row = this.rows.get(event.step);
    if (row === undefined) return;
    const at = Date.parse(event.at);
    const set = (state: StepState, note = "") => {
      row.state = state;
      row.note = note;
    };
    switch (event.type) {
      case "step.started":
        set("running", event.attempt > 1 ? `attempt ${event.attempt}` : "");
        row.startedAt = at;
        row.durationMs = null;
        break;
      case "step.completed":
        set("completed");
        row.durationMs = row.startedAt === null ? null : at - row.startedAt;
        break;
      case "step.skipped":
        set("skipped", "skipped");
        row.durationMs = null;
        break;
      case "step.continued":
        set("continued", row.note);
        break;
      case "step.failed":
        set(event.final ? "failed" : "delayed", printable(event.error.message));
        row.durationMs = row.startedAt === null ? null : at - row.startedAt;
        break;
      case "step.waiting":
        set("waiting", event.wait === "timer" ? "" : `waits for ${WAIT_WORDS[event.wait]}`);
        break;
      case "step.crashed":
        set("lost", "its worker was lost");
        break;
      case "step.released":
        set("queued");
        break;
      case "step.admitted":
      case "decision.recorded":
      case "plan.grown":
        break;
      default:
        event satisfies never;
    }
  }

  private draw(): void {
    const columns = this.sink.columns ?? 80;
    const now = Date.now();
    const done = this.order.filter(isDone).length;
    const head = `${this.title}  ${done}/${this.order.length}  ${formatDurationMs(now - this.startedAt)}`;
    const width = Math.min(40, Math.max(...this.order.map((row) => row.id.length)));
    const rows = this.visible().map((row) =>
      typeof row === "string" ? this.c.dim(fitTo(row, columns)) : this.renderRow(row, width, columns, now),
    );
    this.frame.draw([this.c.bold(fitTo(head, columns)), ...rows]);
  }

  private renderRow(row: Row, width: number, columns: number, now: number): string {
    const ms = row.state === "running" && row.startedAt !== null ? now - row.startedAt : row.durationMs;
    const time = ms === null || row.state === "waiting" ? "" : formatDurationMs(Math.max(0, ms));
    const text = fitTo(`${printable(row.id).padEnd(width)}  ${time.padEnd(7)}  ${row.note}`.trimEnd(), columns - 2);
    const quiet = QUIET.has(row.state);
    return `${stepMark(row.state, this.c)} ${quiet ? this.c.dim(text) : text}`;
  }

  private visible(): (Row | string)[] {
    if (this.order.length <= MOST_ROWS) return this.order;
    const done = this.order.filter(isDone);
    const open = this.order.filter((row) => !isDone(row) && row.state !== "pending");
    const pending = this.order.filter((row) => row.state === "pending");
    const shownOpen = open.slice(0, MOST_ROWS - DONE_ROWS - PENDING_ROWS);
    return [
      ...more(done.length - DONE_ROWS, "done"),
      ...done.slice(-DONE_ROWS),
      ...shownOpen,
      ...more(open.length - shownOpen.length, "more on the frontier"),
      ...pending.slice(0, PENDING_ROWS),
      ...more(pending.length - PENDING_ROWS, "pending"),
    ];
  }
}

function more(count: number, what: string): string[] {
  return count > 0 ? [`┆ ${count} ${what}`] : [];
}

function isDone(row: Row): boolean {
  return DONE_STATES.has(row.state);
}

function pendingRow(id: string): Row {
  return { id, state: "pending", startedAt: null, durationMs: null, note: "" };
}
