/** What a mistyped command or option probably meant. */
import { nearest } from "../core/nearest.js";

/** Words that people bring from other tools. */
const SYNONYMS: ReadonlyMap<string, string> = new Map([
  ["retry", "resume"],
  ["restart", "resume"],
  ["rerun", "resume"],
  ["continue", "resume"],
  ["unpause", "resume"],
  ["start", "run"],
  ["exec", "run"],
  ["execute", "run"],
  ["apply", "run"],
  ["enqueue", "submit"],
  ["add", "submit"],
  ["create", "submit"],
  ["check", "validate"],
  ["lint", "validate"],
  ["status", "get"],
  ["show", "get"],
  ["describe", "get"],
  ["inspect", "get"],
  ["info", "get"],
  ["ls", "list"],
  ["ps", "list"],
  ["plans", "list"],
  ["events", "history"],
  ["log", "logs"],
  ["follow", "watch"],
  ["tail", "logs"],
  ["stop", "cancel"],
  ["kill", "cancel"],
  ["abort", "cancel"],
  ["terminate", "cancel"],
  ["delete", "cancel"],
  ["remove", "cancel"],
  ["rm", "cancel"],
  ["suspend", "pause"],
  ["hold", "pause"],
  ["send", "signal"],
  ["accept", "approve"],
  ["confirm", "approve"],
  ["reject", "approve"],
  ["choose", "decide"],
  ["answer", "decide"],
  ["serve", "worker"],
  ["work", "worker"],
  ["ping", "doctor"],
  ["health", "doctor"],
]);

/** The command meant by `word`, or null where nothing is near. */
export function suggestCommand(word: string, commands: readonly string[]): string | null {
  const synonym = SYNONYMS.get(word.toLowerCase());
  if (synonym !== undefined && commands.includes(synonym)) return synonym;
  return nearest(word.toLowerCase(), commands);
}

/** The long option meant by `flag`, or null. */
export function suggestOption(flag: string, options: readonly string[]): string | null {
  const meant = nearest(
    flag.slice(2),
    options.map((option) => option.slice(2)),
  );
  return meant === null ? null : `--${meant}`;
}
