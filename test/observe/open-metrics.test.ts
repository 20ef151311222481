import { expect, test } from "vitest";
import { Counter, exposition, Histogram } from "../../src/observe/open-metrics.js";

test("counters, gauges and histograms as OpenMetrics text", () => {
  const steps = new Counter("steps", "Steps that ended.");
  steps.add({ plan: "web", outcome: "completed" });
  steps.add({ plan: "web", outcome: "completed" }, 2);
  steps.add({ plan: 'a "b"\\c\nd', outcome: "failed" });
  const durations = new Histogram("step_seconds", "How long.", [0.5, 1]);
  for (const seconds of [0.25, 0.5, 0.75, 8]) durations.observe(seconds, { plan: "web" });

  const text = exposition([
    steps.family,
    durations.family,
    { name: "active", type: "gauge", help: "Now.", samples: [{ value: 3 }] },
  ]);

  expect(text).toBe(`# TYPE steps counter
# HELP steps Steps that ended.
steps_total{plan="web",outcome="completed"} 3
steps_total{plan="a \\"b\\"\\\\c\\nd",outcome="failed"} 1
# TYPE step_seconds histogram
# UNIT step_seconds seconds
# HELP step_seconds How long.
step_seconds_bucket{plan="web",le="0.5"} 2
step_seconds_bucket{plan="web",le="1.0"} 3
step_seconds_bucket{plan="web",le="+Inf"} 4
step_seconds_count{plan="web"} 4
step_seconds_sum{plan="web"} 9.5
# TYPE active gauge
# HELP active Now.
active 3
# EOF
`);
});

test("a family of nothing yet is announced all the same", () => {
  expect(exposition([new Counter("takeovers", "None.").family])).toBe(
    "# TYPE takeovers counter\n# HELP takeovers None.\n# EOF\n",
  );
});
