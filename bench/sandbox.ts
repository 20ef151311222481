/** A checkpoint of many files of which few have changed, and its restore, next to git on the same tree. */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createDirectoryProvider } from "../src/sandbox/directory-provider.js";
import { type Figure, figure, ratios } from "./support/figure.js";
import { rotated, type Scenario, type Size } from "./support/scenario.js";

const SIZES = {
  full: { rounds: 15, restores: 5, folders: 100, filesPerFolder: 100, bytesPerFile: 20_000, changed: 10 },
  tiny: { rounds: 2, restores: 1, folders: 5, filesPerFolder: 10, bytesPerFile: 2_000, changed: 2 },
} as const satisfies Record<Size, object>;
type Shape = (typeof SIZES)[Size];

const RULES = { exclude: [], ignore: [], include: [] };
const BAR = { atMost: 1.2 };

export const sandbox: Scenario = {
  name: "sandbox",
  about: "checkpoint and restore of 10,000 files and 200 MB, next to git",
  async run(size, talk) {
    const folder = mkdtempSync(join(tmpdir(), "waymark-bench-"));
    try {
      return await measure(folder, SIZES[size], talk);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  },
};

async function measure(folder: string, shape: Shape, talk: (line: string) => void): Promise<Figure[]> {
  const [tree, repository] = [join(folder, "tree"), join(folder, "repository")];
  const provider = createDirectoryProvider({ dataDir: join(folder, "data") });
  const git = (command: string, target = tree) =>
    execFileSync("sh", ["-c", command], {
      cwd: target,
      env: { ...process.env, GIT_DIR: repository, GIT_WORK_TREE: target, GIT_INDEX_FILE: `${target}.index` },
      encoding: "utf8",
    }).trim();
  makeTree(tree, shape);
  execFileSync("git", ["init", "--quiet", "--bare", repository]);
  const firstGit = await msOf(() => git("git add -A && git write-tree"));
  const firstOurs = await msOf(() => provider.snapshot(tree, RULES));
  talk(`the first time: git ${firstGit.toFixed(0)} ms, waymark ${firstOurs.toFixed(0)} ms`);

  const checkpoints = { git: [] as number[], waymark: [] as number[] };
  const checkpoint = {
    git: () => git("git add -A && git write-tree"),
    waymark: () => provider.snapshot(tree, RULES),
  };
  for (let round = 0; round < shape.rounds; round++) {
    change(tree, shape, round);
    for (const who of rotated(["git", "waymark"] as const, round)) checkpoints[who].push(await msOf(checkpoint[who]));
  }
  talk(`${shape.rounds} checkpoints of ${shape.changed} changed files each`);

  const restores = { git: [] as number[], waymark: [] as number[] };
  const treeId = git("git write-tree");
  const snapshot = await provider.snapshot(tree, RULES);
  for (let round = 0; round < shape.restores; round++) {
    for (const who of rotated(["git", "waymark"] as const, round)) {
      const target = join(folder, `${who}-${round}`);
      mkdirSync(target);
      const restore = {
        git: () => git(`git read-tree ${treeId} && git checkout-index --all`, target),
        waymark: () => provider.restore(snapshot, target, RULES),
      };
      restores[who].push(await msOf(restore[who]));
      rmSync(target, { recursive: true });
    }
  }
  return [
    figure("first snapshot, git", "ms", [firstGit]),
    figure("first snapshot, waymark", "ms", [firstOurs]),
    figure("checkpoint, git add -A && git write-tree", "ms", checkpoints.git),
    figure("checkpoint, waymark", "ms", checkpoints.waymark),
    figure("checkpoint over git's", "×", ratios(checkpoints.waymark, checkpoints.git), BAR),
    figure("restore, git checkout", "ms", restores.git),
    figure("restore, waymark", "ms", restores.waymark),
    figure("restore over git's", "×", ratios(restores.waymark, restores.git), BAR),
  ];
}

function makeTree(tree: string, { folders, filesPerFolder, bytesPerFile }: Shape): void {
  for (let folder = 0; folder < folders; folder++) {
    mkdirSync(join(tree, String(folder)), { recursive: true });
    for (let file = 0; file < filesPerFolder; file++) {
      writeFileSync(join(tree, `${folder}/${file}.txt`), text(bytesPerFile, folder * filesPerFolder + file));
    }
  }
}

function change(tree: string, { folders, filesPerFolder, bytesPerFile, changed }: Shape, round: number): void {
  for (let i = 0; i < changed; i++) {
    const path = `${(round * 7 + i * 3) % folders}/${(round + i) % filesPerFolder}.txt`;
    writeFileSync(join(tree, path), text(bytesPerFile, 1_000_000 + round * changed + i));
  }
}

/** Words in an order of their own for each seed: compressible as source text is, and never the same twice. */
function text(bytes: number, seed: number): string {
  const words: string[] = [];
  let state = seed * 2_654_435_761;
  for (let length = 0; length < bytes; length += 9) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    words.push((state % 4_096).toString(36).padStart(8, "word"));
  }
  return words.join(" ").slice(0, bytes);
}

async function msOf(action: () => unknown): Promise<number> {
  const startMs = performance.now();
  await action();
  return performance.now() - startMs;
}
