/** Single values of a document that mean the same wherever they stand. */
import { parseDurationMs } from "../duration.js";
import { isId } from "../ids.js";
import type { Located, LocatedDocument } from "./located.js";

/** What timers can hold: a longer one would fire at once. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

export function readId(document: LocatedDocument, at: Located): string | null {
  const id = document.string(at);
  if (id === null || isId(id)) return id;
  const rule = "starts with a letter or digit and goes on with up to 127 letters, digits, dots, underscores or hyphens";
  document.fault(at, `${at.path} is ${document.describe(at)}; an id ${rule}`);
  return null;
}

export function readDurationMs(document: LocatedDocument, at: Located): number | null {
  const ms = parseDurationMs(document.scalar(at));
  if (ms === null) {
    const wanted = 'a duration such as 500 (milliseconds), "30s" or "10m"';
    document.fault(at, `${at.path} must be ${wanted}, not ${document.describe(at)}`);
  } else if (ms > LONGEST_TIMER_MS) {
    document.fault(at, `${at.path} is ${ms} ms; the limit is ${LONGEST_TIMER_MS} ms, 24 days`);
    return null;
  }
  return ms;
}
