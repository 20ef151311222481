/** Means, variances, correlation and the regression line of one set. */
const points = JSON.parse(process.env.POINTS);
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
const xs = points.map(([x]) => x);
const ys = points.map(([, y]) => y);
const [meanX, meanY] = [mean(xs), mean(ys)];
const products = (as, meanA, bs, meanB) => as.reduce((sum, a, i) => sum + (a - meanA) * (bs[i] - meanB), 0);
const xx = products(xs, meanX, xs, meanX);
const yy = products(ys, meanY, ys, meanY);
const xy = products(xs, meanX, ys, meanY);
const slope = xy / xx;

console.log(
  JSON.stringify({
    n: points.length,
    meanX,
    meanY,
    varianceX: xx / (points.length - 1),
    varianceY: yy / (points.length - 1),
    correlation: xy / Math.sqrt(xx * yy),
    slope,
    intercept: meanY - slope * meanX,
    maxY: Math.max(...ys),
  }),
);
