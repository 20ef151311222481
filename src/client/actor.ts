/** Who does something, where nobody said: user@host. */
import { hostname, userInfo } from "node:os";

export function defaultActor(): string {
  return `${userName()}@${hostname()}`;
}

function userName(): string {
  try {
    return userInfo().username;
  } catch {
    // A container may run under a user id that has no name.
    return "unknown";
  }
}
