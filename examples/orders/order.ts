/** An order is reserved, charged and shipped. A person looks at large ones first. */
import { definePlan, services } from "waymark";
import { z } from "zod";

export interface Shop {
  reserve(items: readonly string[]): Promise<{ reservation: string; total: number }>;
  /** Repeated with the same key it charges nothing, and gives the same receipt. */
  charge(total: number, key: string): Promise<{ receipt: string }>;
  ship(reservation: string): Promise<{ parcel: string }>;
}

export const order = definePlan("order", {
  input: z.object({ items: z.array(z.string()).min(1) }),
  services: services<{ shop: Shop }>(),
})
  .step("reserve", { retry: { attempts: 5, delay: "1m" } }, async ({ input, services }) =>
    services.shop.reserve(input.items),
  )
  .approve("look", {
    when: ({ outputs }) => outputs.reserve.total > 1_000,
    message: ({ outputs }) => `Charge ${outputs.reserve.total}?`,
  })
  .step("charge", async ({ outputs, services, idempotencyKey }) =>
    services.shop.charge(outputs.reserve.total, idempotencyKey),
  )
  .step("ship", async ({ outputs, services }) => services.shop.ship(outputs.reserve.reservation));
