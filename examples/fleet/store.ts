/** Where producer and workers of this example meet. */
export const store = {
  redis: process.env.WAYMARK_REDIS_URL ?? "redis://127.0.0.1:6379",
  prefix: process.env.WAYMARK_PREFIX ?? "waymark",
};
