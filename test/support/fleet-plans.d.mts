import type { AnyPlan } from "waymark";

export const chain: AnyPlan;
export const long: AnyPlan;
export const graph: AnyPlan;
export const retrying: AnyPlan;
export const waiting: AnyPlan;
export const deciding: AnyPlan;
export const held: AnyPlan;
export const writers: AnyPlan;
