/** `map` of a step, with `key` and `concurrency`: one step an item of a list. */
import { WAITING_HANDLERS } from "../definition.js";
import { formatExpression, formatPath } from "../expression.js";
import { keyPath, type MapDeclaration } from "../map.js";
import { type PlacedPath, readPath } from "./condition.js";
import type { Field, LocatedDocument } from "./located.js";

export interface DraftMap {
  readonly declaration: MapDeclaration;
  readonly path: PlacedPath;
}

export function readMap(document: LocatedDocument, fields: ReadonlyMap<string, Field>, uses: string): DraftMap | null {
  const at = fields.get("map");
  const key = fields.get("key");
  const concurrency = fields.get("concurrency");
  if (!at) {
    if (key)
      document.fault({ offset: key.keyOffset, path: key.path }, "key is for the items of a map, and there is none");
    return null;
  }
  const path = readPath(document, at);
  const keyed = key ? readKey(document, key) : null;
  // A mapping is a limit over all plans: see `readLimits`.
  const limit = concurrency && document.scalar(concurrency) !== undefined ? document.count(concurrency) : null;
  if (limit !== null && WAITING_HANDLERS.has(uses)) {
    document.fault(concurrency!, `${uses} only waits: its items need no concurrency`);
  }
  return path && { declaration: { over: formatExpression(path.expression), key: keyed, concurrency: limit }, path };
}

function readKey(document: LocatedDocument, at: Field): string | null {
  const text = document.string(at, "a path into the item, such as item.id");
  const path = text === null ? null : keyPath(text);
  if (typeof path !== "string") return path && formatPath("item", path);
  document.fault(at, path);
  return null;
}
