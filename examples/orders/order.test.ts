/** The plan's tests: no Redis, no waiting. `node --import tsx --test examples/orders/order.test.ts` */
import assert from "node:assert/strict";
import { test } from "node:test";
import { testPlan } from "waymark/testing";
import { order, type Shop } from "./order.js";

class FakeShop implements Shop {
  readonly charged = new Map<string, number>();

  async reserve(items: readonly string[]) {
    return { reservation: "r-1", total: 400 * items.length };
  }

  async charge(total: number, key: string) {
    this.charged.set(key, total);
    return { receipt: `receipt of ${key}` };
  }

  async ship(reservation: string) {
    return { parcel: `parcel of ${reservation}` };
  }
}

test("a small order is charged and shipped, and nobody has to look at it", async () => {
  const shop = new FakeShop();

  const run = await testPlan(order, { input: { items: ["tea", "pot"] }, services: { shop } });

  assert.equal(run.state, "completed");
  assert.deepEqual(run.output, { parcel: "parcel of r-1" });
  assert.equal(run.steps.look.state, "skipped");
  assert.deepEqual([...shop.charged.values()], [800]);
});

test("a large order waits for a person, and a rejection charges nothing", async () => {
  const input = { items: ["tea", "pot", "cups"] };
  const shop = new FakeShop();

  const asked = await testPlan(order, { input, services: { shop } });
  const rejected = await testPlan(order, { input, services: { shop }, decisions: { look: "reject" } });
  const approved = await testPlan(order, { input, services: { shop }, decisions: { look: "approve" } });

  assert.equal(asked.state, "waiting");
  assert.equal(asked.waiting[0]?.ask.question, "Charge 1200?");
  assert.equal(rejected.state, "cancelled");
  assert.equal(approved.state, "completed");
  assert.equal(shop.charged.size, 1);
});

test("a shop that is closed for a few minutes is asked again", async () => {
  const run = await testPlan(order, {
    input: { items: ["tea"] },
    services: { shop: new FakeShop() },
    steps: {
      reserve: ({ attempt }) => {
        if (attempt < 4) throw new Error("closed");
        return { reservation: "late", total: 400 };
      },
    },
  });

  assert.deepEqual(run.output, { parcel: "parcel of late" });
  assert.equal(run.steps.reserve.attempts, 4);
});

test("wherever its worker dies, an order is charged once and comes to the same", async () => {
  const { output, crashes } = await testPlan(order, {
    input: { items: ["tea"] },
    services: () => ({ shop: new FakeShop() }),
    crashAt: "everywhere",
  });

  assert.deepEqual(output, { parcel: "parcel of r-1" });
  assert.equal(crashes.length, 8);
  for (const { services } of crashes) assert.equal((services.shop as FakeShop).charged.size, 1);
});
