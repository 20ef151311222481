import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { chain as chain100 } from "../types/chain-100.js";
import { chain as chain200 } from "../types/chain-200.js";
import { chainFile, chainSource } from "../types/generate-chain.js";

test.each([
  [100, chain100.compiled],
  [200, chain200.compiled],
])("the chain of %i steps that type-checks is the generated one, and has them all", (length, compiled) => {
  expect(readFileSync(chainFile(length), "utf8")).toBe(chainSource(length));
  expect(compiled.definition.steps).toHaveLength(length);
  expect(compiled.roots).toEqual(["s1"]);
});
