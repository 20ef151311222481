/** Reads and checks the file. The output has the points of each set. */
import { readFileSync } from "node:fs";

const [header, ...rows] = readFileSync(process.env.FILE, "utf8").trim().split("\n");
if (header !== "set,x,y") throw new Error(`the columns are ${header}, not set,x,y`);
const sets = {};
rows.forEach((row, i) => {
  const [set, ...numbers] = row.split(",");
  const [x, y] = numbers.map(Number);
  if (numbers.length !== 2 || !Number.isFinite(x) || !Number.isFinite(y)) throw new Error(`line ${i + 2} is ${row}`);
  sets[set] ??= [];
  sets[set].push([x, y]);
});
console.log(JSON.stringify(sets));
