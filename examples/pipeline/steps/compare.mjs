/** How far the four sets lie apart in each number, and the number itself where they agree to two digits. */
const sets = [1, 2, 3, 4].map((i) => JSON.parse(process.env[`SET_${i}`]));
const result = {};
for (const name of Object.keys(sets[0])) {
  const values = sets.map((set) => set[name]);
  const spread = Math.max(...values) - Math.min(...values);
  result[name] = { spread: Number(spread.toFixed(4)), ...(spread < 0.01 && { value: Number(values[0].toFixed(2)) }) };
}
console.log(JSON.stringify(result));
