export function total(cart) {
  var sum = 0;
  for (var item of cart) sum += item.cents * item.count;
  return sum;
}
