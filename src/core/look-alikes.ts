/**
 * Secrets that nobody declared, as their names give them away: what stands under `password`, `apiKey`, `authorization` and
 * the like is kept out of logs, errors and history. Payloads are not touched: they may have to hold such values.
 */

const HIDDEN = "***";
const WORDS = "pass(?:word|wd|phrase)|secret|token|api[-_]?key|authorization|credentials?|private[-_]?key";
const NAME = new RegExp(`(?:${WORDS})$`, "i");
/** `"name": "value"`, as JSON writes it. */
const QUOTED = new RegExp(`("[^"\\\\]{0,48}(?:${WORDS})"\\s*:\\s*)"(?:[^"\\\\]|\\\\.)*"`, "gi");
/** `name=value`, and `Name: value` with the scheme of a header. */
const BARE = new RegExp(
  `((?<![\\w.-])[\\w.-]{0,48}(?:${WORDS})\\s*[=:]\\s*(?:(?:Bearer|Basic|Token)\\s+)?)[^\\s"',;&|}\\]]+`,
  "gi",
);
/** `scheme://user:password@` */
const LOGIN = /(\b[a-z][a-z0-9+.-]{0,31}:\/\/[^\s/:@]*:)[^\s/@]+@/gi;

/** Whether a value of this name is a secret, for all that the name tells. */
export function looksSecret(name: string): boolean {
  return NAME.test(name);
}

export function withoutLookAlikes(text: string): string {
  return text.replace(QUOTED, `$1"${HIDDEN}"`).replace(BARE, `$1${HIDDEN}`).replace(LOGIN, `$1${HIDDEN}@`);
}
