import { expect, test } from "vitest";
import { looksSecret, withoutLookAlikes } from "../../src/core/look-alikes.js";

test.each([
  ['{"user":"ada","password":"s3cr3t \\" x"}', '{"user":"ada","password":"***"}'],
  ['{"dbPassword" : "a","n":1}', '{"dbPassword" : "***","n":1}'],
  ["Authorization: Bearer abc.def", "Authorization: Bearer ***"],
  ["API_KEY=abc123 npm run x", "API_KEY=*** npm run x"],
  ["x-api-key: abc, y: 1", "x-api-key: ***, y: 1"],
  ["connect redis://default:hunter2@db:6379 failed", "connect redis://default:***@db:6379 failed"],
  ["https://example.org/a?token=abc&n=1", "https://example.org/a?token=***&n=1"],
  ["client_secret = abc", "client_secret = ***"],
  ["used 1200 tokens: 3 left", "used 1200 tokens: 3 left"],
  ["the token was refused", "the token was refused"],
  ["TOKEN=***", "TOKEN=***"],
  ["ratio: 0.5, file: a.ts", "ratio: 0.5, file: a.ts"],
])("%s is shown as %s", (text, shown) => {
  expect(withoutLookAlikes(text)).toBe(shown);
});

test.each(["password", "PASSWD", "apiKey", "api-key", "private_key", "authToken", "credentials"])(
  "%s names a secret",
  (name) => expect(looksSecret(name)).toBe(true),
);

test.each(["tokens", "passed", "secretary", "keyboard", "author"])("%s names none", (name) =>
  expect(looksSecret(name)).toBe(false),
);
