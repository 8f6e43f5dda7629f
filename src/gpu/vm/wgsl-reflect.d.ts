/*
 * wgsl_reflect 1.6.0 declares ES modules but names a CommonJS file as its main entry, so Node sees
 * an empty namespace. The module build is imported by path; this gives that path the package's
 * types.
 */
declare module 'wgsl_reflect/wgsl_reflect.module.js' {
  export * from 'wgsl_reflect/types/index.d.ts';
}
