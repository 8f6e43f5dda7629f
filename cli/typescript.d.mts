/** See typescript.mjs, which Node has to load before it can load TypeScript. */
export const isRegistered: true;
