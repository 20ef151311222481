import assert from "node:assert/strict";
import test from "node:test";
import { receipt } from "../src/receipt.js";

test("a receipt has the total of the cart", () => {
  const cart = [
    { cents: 250, count: 2 },
    { cents: 99, count: 1 },
  ];
  assert.equal(receipt(cart), "Total: 5.99");
});
