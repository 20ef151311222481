/** Which keys a mapping of a document may have. */
import type { Field, Located, LocatedDocument } from "./located.js";

/** Refuses what isn't known; a key that another version knows is named as such, never passed over. */
export function checkKeys(
  document: LocatedDocument,
  at: Located,
  fields: ReadonlyMap<string, Field>,
  known: readonly string[],
  ofLaterVersions: readonly string[],
): void {
  for (const field of fields.values()) {
    if (known.includes(field.key)) continue;
    const place = { offset: field.keyOffset, path: field.path };
    if (ofLaterVersions.includes(field.key)) document.fault(place, `${field.key} is not supported by this version`);
    else {
      const where = at.path === "" ? "a plan" : at.path;
      document.fault(place, `${where} has no key "${field.key}"${document.suggest(field.key, known)}`);
    }
  }
}
