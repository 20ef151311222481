/** What a step records of the value its function returns: JSON, checked by the compiler as far as types can tell. */

/** The type that is read back: a function that returns nothing records null. */
export type Recorded<R> = R extends void ? null : R;

/** Makes a function's type unsatisfiable where its result holds what JSON can't. */
export type MustBeJson<R> = [R] extends [JsonOf<R>] ? unknown : { "returns what JSON can't hold": JsonOf<R> };

/** By structure, not by `extends Json`, so that interfaces pass: they have no index signature. */
type JsonOf<T> = T extends string | number | boolean | null
  ? T
  : T extends void
    ? T
    : T extends NotJson
      ? { "not JSON": T }
      : T extends readonly unknown[]
        ? { [K in keyof T]: ElementOf<T[K]> }
        : { [K in keyof T]: JsonOf<T[K]> };

/** An undefined element would be read back as null; an undefined property is left out, which its type allows. */
type ElementOf<T> = undefined extends T ? (IsAny<T> extends true ? T : { "not JSON": undefined }) : JsonOf<T>;

type IsAny<T> = 0 extends 1 & T ? true : false;

type NotJson =
  | bigint
  | symbol
  | Date
  | ReadonlyMap<unknown, unknown>
  | ReadonlySet<unknown>
  | ((...args: never) => unknown);
