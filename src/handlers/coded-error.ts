/** Gives an error of a built-in handler the code that history shows, such as `EXIT_3` or `HTTP_503`. */
export function coded<E extends Error>(error: E, code: string): E & { readonly code: string } {
  return Object.assign(error, { code });
}
