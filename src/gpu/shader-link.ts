/*
 * Joins a kernel's WGSL with the shared parts that it names by `#import` lines. WGSL allows
 * declarations in any order, so linking is: each part once, then the kernel. The line map turns the
 * compiler's line numbers back into those of the files.
 *
 * Leaves out: conditional text, parameters, namespaces. What can be tuned is an `override`
 * constant, or the text that the host gives for a part's name.
 */
import { assert } from '../base/assert.ts';

/** Linked source and where its lines came from. */
export interface LinkedShader {
  readonly code: string;
  /** For each line of `code`, from 0: "file:line". */
  readonly lineMap: readonly string[];
}

const IMPORT = /^#import\s+([a-z][a-z0-9-]*)\s*$/;

/**
 * Links a kernel.
 *
 * @param name the kernel's file name without ending, for the line map
 * @param source its text
 * @param parts the shared parts by name; they may import each other
 * @returns the code to compile; throws `KernelBug` for a part that does not exist
 *
 * Context: no lock; never waits. Source: our own.
 */
export function linkShader(
  name: string,
  source: string,
  parts: Readonly<Record<string, string>>,
): LinkedShader {
  const code: string[] = [];
  const lineMap: string[] = [];
  const seen = new Set<string>();
  const add = (file: string, text: string): void => {
    const lines = text.split('\n');
    for (const line of lines) {
      const wanted = IMPORT.exec(line)?.[1];
      if (wanted !== undefined && !seen.has(wanted)) {
        seen.add(wanted);
        const part = parts[wanted];
        assert(part !== undefined, `${file} imports ${wanted}, which does not exist`);
        add(`shared/${wanted}.wgsl`, part);
      }
    }
    lines.forEach((line, index) => {
      if (IMPORT.test(line)) return;
      code.push(line);
      lineMap.push(`${file}:${index + 1}`);
    });
  };
  add(`${name}.wgsl`, source);
  return { code: code.join('\n'), lineMap };
}

/** A compiler message with the place in the source files that it is about. */
export function describeMessage(message: GPUCompilationMessage, linked: LinkedShader): string {
  const place = linked.lineMap[message.lineNum - 1] ?? 'unknown place';
  return `${place}: ${message.type}: ${message.message}`;
}
