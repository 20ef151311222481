/** Durations as people write them: milliseconds in numbers, or strings such as "10m". */

export type Duration = number | `${number}${"ms" | "s" | "m" | "h" | "d"}`;

const UNIT_MS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;
const PATTERN = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/;

/** Milliseconds of a duration, or null when it isn't one. */
export function parseDurationMs(value: unknown): number | null {
  if (typeof value === "number") return Number.isFinite(value) && value >= 0 ? Math.round(value) : null;
  if (typeof value !== "string") return null;
  const match = PATTERN.exec(value.trim());
  return match ? Math.round(Number(match[1]) * UNIT_MS[match[2] as keyof typeof UNIT_MS]) : null;
}

/** For people: `340ms`, `2.5s`, `3m 12s`, `1h 4m`, `2d 3h`. */
export function formatDurationMs(ms: number): string {
  if (ms < 1_000) return `${Math.round(ms)}ms`;
  if (ms < 60_000) return `${(ms / 1_000).toFixed(ms < 10_000 ? 1 : 0).replace(/\.0$/, "")}s`;
  const parts: [number, string, number, string] =
    ms < 3_600_000
      ? [60_000, "m", 1_000, "s"]
      : ms < 86_400_000
        ? [3_600_000, "h", 60_000, "m"]
        : [86_400_000, "d", 3_600_000, "h"];
  const [bigMs, big, smallMs, small] = parts;
  const rest = Math.floor((ms % bigMs) / smallMs);
  return rest === 0 ? `${Math.floor(ms / bigMs)}${big}` : `${Math.floor(ms / bigMs)}${big} ${rest}${small}`;
}
