import { total } from "./cart.js";

export function receipt(cart) {
  var cents = total(cart);
  return "Total: " + (cents / 100).toFixed(2);
}
