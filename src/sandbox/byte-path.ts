/**
 * Names of files are bytes, not text. A BytePath holds them one byte a character (latin1), so that any name survives,
 * strings sort as their bytes do, and they concatenate cheaply. It has `/` between names, and none at either end.
 */

export type BytePath = string;

/** For the calls of node:fs, which take text as UTF-8. */
export function forFileSystem(path: BytePath): string | Buffer {
  return isAscii(path) ? path : Buffer.from(path, "latin1");
}

export function fromText(text: string): BytePath {
  return isAscii(text) ? text : Buffer.from(text, "utf8").toString("latin1");
}

/** For people and for patterns. Bytes that aren't UTF-8 become U+FFFD, so that two paths can have the same text. */
export function toText(path: BytePath): string {
  return isAscii(path) ? path : Buffer.from(path, "latin1").toString("utf8");
}

export function parentOf(path: BytePath): BytePath {
  return path.slice(0, Math.max(0, path.lastIndexOf("/")));
}

export function nameOf(path: BytePath): BytePath {
  return path.slice(path.lastIndexOf("/") + 1);
}

export function join(directory: BytePath, name: BytePath): BytePath {
  return directory === "" ? name : `${directory}/${name}`;
}

function isAscii(text: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the range is that of ASCII
  return !/[^\x00-\x7f]/.test(text);
}
