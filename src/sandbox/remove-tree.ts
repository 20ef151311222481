/** Removes a directory or whatever else has its name, without following a link, whatever its modes are. */
import { lstatSync, rmdirSync, unlinkSync } from "node:fs";
import type { Beneath } from "./beneath.js";
import { type BytePath, join } from "./byte-path.js";
import { namesIn } from "./look-up.js";
import type { TimeSlices } from "./time-slices.js";

export async function removeTree(beneath: Beneath, path: BytePath, slices: TimeSlices): Promise<void> {
  if (slices.isOver) await slices.next();
  const stat = lstatSync(beneath.at(path), { throwIfNoEntry: false });
  if (stat === undefined) return;
  if (!stat.isDirectory()) {
    unlinkSync(beneath.at(path));
    return;
  }
  beneath.openUp(path);
  for (const name of namesIn(beneath.enter(path))) await removeTree(beneath, join(path, name), slices);
  rmdirSync(beneath.at(path));
}
