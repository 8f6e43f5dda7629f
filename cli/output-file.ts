/*
 * Files that a command writes its results to: named on its command line, looked at before the work
 * begins, since a run may take minutes, and written at its end.
 *
 * Names are meant from where npm was called; `-` is stdout, where nothing else goes then.
 */
import { closeSync, existsSync, openSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { UsageError } from './args.ts';

/** A file for results. */
export interface OutputFile {
  /** Its absolute name, or `-`. */
  readonly path: string;
  /** Whether the result is what stdout is for: nothing else may be printed there. */
  readonly isStdout: boolean;
  /** Writes the whole result. @throws UsageError, when the disk is full by now */
  write(text: string): void;
}

/**
 * Makes sure that files can be written, and changes none.
 *
 * @param asked what was given for each option, by its name; undefined for one that was not
 * @param folder from where names are meant
 * @throws UsageError that names option, file, reason and remedy
 */
export function outputFiles<K extends string>(
  asked: Readonly<Record<K, string | undefined>>,
  folder: string = callerFolder(),
): Readonly<Record<K, OutputFile | undefined>> {
  const files: Partial<Record<K, OutputFile>> = {};
  const taken = new Map<string, string>();
  for (const option of Object.keys(asked) as K[]) {
    const name = asked[option];
    if (name === undefined) continue;
    const path = name === '-' ? name : resolve(folder, name);
    const other = taken.get(path);
    if (other !== undefined) {
      throw new UsageError(`--${other} and --${option} name the same file, ${path}`);
    }
    taken.set(path, option);
    if (path !== '-') checkWritable(option, path);
    const write = (text: string): void => {
      if (path === '-') process.stdout.write(text.endsWith('\n') ? text : `${text}\n`);
      else writeNow(option, path, text);
    };
    files[option] = { path, isStdout: path === '-', write };
  }
  return files as Record<K, OutputFile | undefined>;
}

/** Where npm was called: it changes to the project's folder before it starts a command. */
export function callerFolder(): string {
  return process.env['INIT_CWD'] ?? '.';
}

/**
 * Opens a file for writing without changing it, and removes it again if it was not there.
 *
 * @throws UsageError that names option, file, reason and remedy
 */
export function checkWritable(option: string, file: string): void {
  const isNew = !existsSync(file);
  try {
    // A pipe would wait here for its reader.
    if (!isNew && !statSync(file).isFile() && !statSync(file).isDirectory()) return;
    closeSync(openSync(file, 'a'));
  } catch (error) {
    const remedy = existsSync(dirname(file)) ? 'name another file' : 'make its folder first';
    throw new UsageError(`--${option}: can't write ${file}: ${reasonOf(error)}; ${remedy}`);
  }
  if (isNew) rmSync(file);
}

/** Writes a file. @throws UsageError that names option, file and reason */
export function writeNow(option: string, file: string, text: string): void {
  try {
    writeFileSync(file, text);
  } catch (error) {
    throw new UsageError(`--${option}: can't write ${file}: ${reasonOf(error)}`);
  }
}

function reasonOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? String(error);
}
