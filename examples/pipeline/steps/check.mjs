/** Holds the result against what F. J. Anscombe published in "Graphs in Statistical Analysis". */
import assert from "node:assert/strict";

const result = JSON.parse(process.env.RESULT);
const published = { n: 11, meanX: 9, meanY: 7.5, varianceX: 11, correlation: 0.82, slope: 0.5, intercept: 3 };
for (const [name, value] of Object.entries(published)) assert.equal(result[name].value, value, name);
// The point of the four sets: numbers agree where pictures don't.
assert.ok(result.maxY.spread > 2);
console.log(JSON.stringify({ alike: Object.keys(published), apart: ["maxY"] }));
