/** Commands that are printed so that they can be pasted: what is data in them never becomes a command of the shell. */

/** `plan …` with each word quoted for a POSIX shell where that is needed. */
export function planCommand(...words: readonly string[]): string {
  return ["plan", ...words.map(shellWord)].join(" ");
}

function shellWord(word: string): string {
  return /^[A-Za-z0-9@%+=:,./_-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
