/** See blank-types.mjs, which Node has to load before it can load TypeScript. */
export function blankTypes(text: string, program: unknown): string;
