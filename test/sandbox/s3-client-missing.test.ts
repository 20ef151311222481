/** Without the optional package. */
import { expect, test, vi } from "vitest";
import { UsageError } from "../../src/core/errors.js";
import { S3Store } from "../../src/sandbox/s3-store.js";

vi.mock("@aws-sdk/client-s3", () => {
  throw new Error("Cannot find package '@aws-sdk/client-s3'");
});

test("a store in S3 says which package it needs", async () => {
  const store = new S3Store({ bucket: "bucket" });

  await expect(store.generation()).rejects.toThrow(UsageError);
  await expect(store.generation()).rejects.toMatchObject({ try: "npm install @aws-sdk/client-s3" });
});
