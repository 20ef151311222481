/** Lets Node load the TypeScript of steps and support. */
import { register } from "tsx/esm/api";

register();
