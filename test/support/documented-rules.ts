/** The rights that docs/operating.md gives to its users: `user NAME on >PASSWORD RULES…`. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const OPERATING = fileURLToPath(new URL("../../docs/operating.md", import.meta.url));

/** @param user or `cluster` for what users need besides on a cluster. Redis before 7.2 has no WAITAOF to allow. */
export function documentedRules(user: string): string[] {
  const text = readFileSync(OPERATING, "utf8");
  const line = user === "cluster" ? /^on a cluster: (.*)$/m : new RegExp(`^user ${user} on >\\S+ (.*)$`, "m");
  const rules = line.exec(text)?.[1];
  if (rules === undefined) throw new Error(`docs/operating.md has no rights of ${user}`);
  return rules.split(" ").filter((rule) => rule !== "+waitaof");
}
