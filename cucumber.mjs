/** `npx cucumber-js` runs every feature: real processes of the built command line, real Redis. */
export default {
  paths: ["features/**/*.feature"],
  // The first one makes the TypeScript of the others loadable, in the processes that cucumber starts as well.
  import: ["features/support/typescript.mjs", "features/support/world.ts", "features/step_definitions/*.ts"],
  parallel: 2,
  format: ["progress"],
};
