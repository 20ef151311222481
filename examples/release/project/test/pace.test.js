// On real timers, so that what is tested is what users get; MODULE is the built module.
import assert from "node:assert/strict";
import { resolve } from "node:path";
import { test } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import { pathToFileURL } from "node:url";

const { debounce, throttle } = await import(pathToFileURL(resolve(process.env.MODULE)).href);

test("a debounced function is called once, with the last arguments", async () => {
  const calls = [];
  const save = debounce((text) => calls.push(text), 400);
  for (const text of ["w", "wa", "way"]) save(text);
  await wait(200);
  save("waym");
  await wait(300);
  assert.deepEqual(calls, []);
  await wait(400);
  assert.deepEqual(calls, ["waym"]);
});

test("a throttled function is called at once and makes up for the last call", async () => {
  const calls = [];
  const move = throttle((x) => calls.push(x), 400);
  for (const x of [1, 2, 3]) move(x);
  assert.deepEqual(calls, [1]);
  await wait(800);
  assert.deepEqual(calls, [1, 3]);
});
