/** `<file|name> [pairs...]` with `--input`: pairs that a shell has split off belong to the input. */
import { UsageError } from "../core/errors.js";

export interface PlanArguments {
  readonly target: string;
  readonly input: readonly string[];
}

/** In `--input a=1 b=2 release.yaml` the second pair comes as an argument. */
export function planArguments(args: readonly string[], input: readonly string[] | undefined): PlanArguments {
  const pairs = input === undefined ? [] : args.filter((arg) => arg.includes("="));
  const [target, ...rest] = args.filter((arg) => !pairs.includes(arg));
  if (target !== undefined && rest.length === 0) return { target, input: [...(input ?? []), ...pairs] };
  const given = target === undefined ? "none" : `${rest.length + 1}`;
  throw new UsageError(`Name one file or plan; ${given} ${given === "none" ? "is" : "are"} named`, {
    try: "plan run --help",
  });
}
