/**
 * A command that uses the embedded store, as a process of its own. Arguments: data directory, start deadline in ms.
 * Prints one line of JSON once it has joined; ends when its input ends, releasing the store before.
 */
import { startEmbedded } from "../../src/embedded/start-embedded.js";

const [dataDir, startDeadlineMs] = process.argv.slice(2);

try {
  const store = await startEmbedded({
    dataDir: dataDir!,
    ...(startDeadlineMs === undefined ? {} : { startDeadlineMs: Number(startDeadlineMs) }),
  });
  process.stdout.write(`${JSON.stringify({ socketPath: store.socketPath })}\n`);
  for await (const _ of process.stdin);
  await store.release();
} catch (error) {
  process.stdout.write(`${JSON.stringify({ error: (error as Error).message })}\n`);
  process.exitCode = 1;
}
