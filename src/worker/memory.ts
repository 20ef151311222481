/**
 * What an attempt makes durable before it ends. Every write is checked by the store as a result is: an attempt that has
 * lost its step is aborted here instead of at its end.
 */
import { type CompiledDefinition, grow } from "../core/definition.js";
import { InvalidChoiceError, NonRetryableError, PayloadKeyError, UsageError } from "../core/errors.js";
import type { AppendedStep, AttemptMemory, Choice, Question, StepHandler } from "../core/handler.js";
import { isId } from "../core/ids.js";
import { type Json, toStoredJson } from "../core/json.js";
import type { AttemptStore, Written } from "../core/ports.js";
import { toDefinitionSteps } from "../define/append.js";
import { type Attempt, AttemptAbortedError } from "./attempt.js";
import { insist } from "./insist.js";

export interface MemorySurroundings {
  readonly attempts: AttemptStore;
  /** That appended steps may use. */
  readonly handlers: ReadonlyMap<string, StepHandler>;
  /** What a cursor, a decision or the `with` of an appended step may weigh. */
  readonly payloadLimitBytes: number;
}

export class StoredMemory implements AttemptMemory {
  /** What is being chosen, so that two calls with one key ask once. */
  private readonly choosing = new Map<string, Promise<string>>();

  private readonly store: AttemptStore;

  constructor(
    private readonly attempt: Attempt,
    private readonly surroundings: MemorySurroundings,
    private readonly compiled: CompiledDefinition,
  ) {
    this.store = surroundings.attempts;
  }

  get saved(): unknown {
    return this.attempt.saved === null ? null : JSON.parse(this.attempt.saved);
  }

  // Handlers take functions out of their context by destructuring, hence no methods.
  readonly decide = <const C extends string>(
    key: string,
    question: Question<C>,
    chooser: () => Choice<C> | Promise<Choice<C>>,
  ): Promise<C> => {
    let chosen = this.choosing.get(key);
    if (chosen === undefined) {
      chosen = this.choose(key, question, chooser);
      this.choosing.set(key, chosen);
      // A chooser that failed may be asked again.
      chosen.catch(() => this.choosing.delete(key));
    }
    return chosen as Promise<C>;
  };

  /** Whether the step runs: its condition is asked once, and that it holds is recorded before the handler begins. */
  async admit(condition: () => Promise<boolean>): Promise<boolean> {
    const { step } = this.attempt;
    if (await insist(this.attempt, () => this.store.admitted(step))) return true;
    if (!(await condition())) return false;
    await this.write(() => this.store.admit(step));
    return true;
  }

  readonly save = async (cursor: unknown): Promise<void> => {
    const { step, hidden } = this.attempt;
    const what = `The cursor of ${step.stepId}`;
    const text = toStoredJson(
      hidden === null ? cursor : hidden.json(cursor as Json),
      what,
      this.surroundings.payloadLimitBytes,
    );
    await this.write(() => this.store.save(step, text));
    this.attempt.saved = text;
  };

  readonly append = (steps: readonly AppendedStep[]): void => {
    const { appended, step } = this.attempt;
    const more = toDefinitionSteps(steps, step.stepId, grow(this.compiled, appended), this.surroundings);
    this.attempt.appended = [...appended, ...more];
  };

  private async choose(
    key: string,
    question: Question<string>,
    chooser: () => Choice<string> | Promise<Choice<string>>,
  ): Promise<string> {
    const { step } = this.attempt;
    checkQuestion(step.stepId, key, question);
    const recorded = await this.write(() => this.store.decide(step, key, null));
    if (recorded.choice !== null) return recorded.choice;
    const answer = await chooser();
    const { choice, rationale, madeBy } = typeof answer === "object" && answer !== null ? answer : { choice: answer };
    if (!question.options.includes(choice)) {
      throw new InvalidChoiceError(`The decision ${key} of ${step.stepId}`, choice, question.options);
    }
    for (const [what, text] of Object.entries({ rationale, madeBy })) {
      if (text == null || typeof text === "string") continue;
      throw new UsageError(`Step ${step.stepId} can't decide ${JSON.stringify(key)}: its ${what} is no text`, {
        details: { step: step.stepId, key },
      });
    }
    const made = {
      question: this.shown(question.question),
      options: question.options,
      choice,
      rationale: rationale == null ? null : this.shown(rationale),
      madeBy: this.shown(madeBy ?? `step ${step.stepId}`),
    };
    toStoredJson(made, `The decision ${key} of ${step.stepId}`, this.surroundings.payloadLimitBytes);
    const { choice: first } = await this.write(() => this.store.decide(step, key, made));
    return first!;
  }

  private shown(text: string): string {
    return this.attempt.hidden?.text(text) ?? text;
  }

  private async write<T extends Written>(call: () => Promise<T>): Promise<T> {
    const written = await insist(this.attempt, call).catch((error: unknown) => {
      // Before the handler began, another worker could try; by now something may have happened.
      if (error instanceof PayloadKeyError) throw new NonRetryableError(error.message, { cause: error });
      throw error;
    });
    if (written.verdict === "OK") return written;
    this.attempt.abort("lost");
    throw new AttemptAbortedError("lost");
  }
}

function checkQuestion(stepId: string, key: string, { question, options }: Question<string>): void {
  const refuse = (fault: string) =>
    new UsageError(`Step ${stepId} can't decide ${JSON.stringify(key)}: ${fault}`, { details: { step: stepId, key } });
  if (!isId(key))
    throw refuse("a key is letters, digits, '.', '_' and '-', at most 128, the first a letter or a digit");
  if (typeof question !== "string") throw refuse("its question is no text");
  if (!Array.isArray(options) || options.length === 0 || !options.every((option) => typeof option === "string")) {
    throw refuse("its options are no list of texts");
  }
}
