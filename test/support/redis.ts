/**
 * One Redis for a whole run: in a container where a Docker engine answers and has the image or can fetch it, else a
 * private redis-server on loopback. The run says which. Tests get its address with `inject("redisUrl")`.
 */
import { execFile } from "node:child_process";
import type { TestProject } from "vitest/node";
import { startPrivateRedis } from "./private-redis.js";

declare module "vitest" {
  export interface ProvidedContext {
    redisUrl: string;
  }
}

const IMAGE = process.env.WAYMARK_TEST_REDIS_IMAGE ?? "redis:7.2-alpine";
const ENGINE_DEADLINE_MS = 3_000;
const CONTAINER_DEADLINE_MS = 60_000;

interface RunningRedis {
  readonly url: string;
  readonly what: string;
  stop(): Promise<void>;
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const redis = (await hasDockerEngine()) ? await inContainer().catch(privately) : await privately();
  console.log(`Redis for this run: ${redis.what}`);
  project.provide("redisUrl", redis.url);
  return () => redis.stop();
}

function hasDockerEngine(): Promise<boolean> {
  return new Promise((resolve) => {
    execFile("docker", ["info", "--format", "{{.ServerVersion}}"], { timeout: ENGINE_DEADLINE_MS }, (error, stdout) =>
      resolve(error === null && stdout.trim() !== ""),
    );
  });
}

async function inContainer(): Promise<RunningRedis> {
  const { GenericContainer } = await import("testcontainers");
  const container = await new GenericContainer(IMAGE)
    .withCommand(["redis-server", "--save", "", "--appendonly", "yes", "--maxmemory-policy", "noeviction"])
    .withExposedPorts(6379)
    .withStartupTimeout(CONTAINER_DEADLINE_MS)
    .start();
  const url = `redis://${container.getHost()}:${container.getMappedPort(6379)}`;
  return { url, what: `container of ${IMAGE} (Testcontainers)`, stop: async () => void (await container.stop()) };
}

async function privately(reason?: Error): Promise<RunningRedis> {
  const redis = await startPrivateRedis();
  const because = reason === undefined ? "no Docker engine answers" : `the container failed: ${reason.message}`;
  return { url: redis.url, what: `private redis-server, pid ${redis.pid} (${because})`, stop: () => redis.stop() };
}
