/*
 * A user's policy module on a command line: found, read and loaded before the work begins, so that
 * whatever is wrong with it is said with file, line and column.
 */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { PolicyError, policyErrorText, userPolicy } from '../src/index.ts';
import type { PolicyFactory } from '../src/index.ts';
import { UsageError } from './args.ts';
import { callerFolder } from './output-file.ts';

/** A module that was loaded. */
export interface PolicyModule {
  readonly url: string;
  readonly factory: PolicyFactory;
}

/** Whether a policy on the command line is a module's name. */
export function isPolicyModule(name: string): boolean {
  return /\.m?js$/.test(name);
}

/**
 * Loads a policy of the user's.
 *
 * @param name as on the command line, meant from `folder`
 * @throws UsageError for one that is not there, no JavaScript, throws, or exports no policy
 */
export async function loadPolicyModule(
  name: string,
  folder: string = callerFolder(),
): Promise<PolicyModule> {
  const file = resolve(folder, name);
  const url = pathToFileURL(file).href;
  const text = readModule(name, file);
  await checkSyntax(name, text);
  // What it imports may be TypeScript of this tree.
  await import('./typescript.mjs');
  let module: unknown;
  try {
    module = await import(/* @vite-ignore */ url);
  } catch (error) {
    const known = error instanceof Error ? error : new Error(`throws ${String(error)}`);
    const why = importText(known, name, text) ?? policyErrorText(known, url, name);
    throw new UsageError(`--policy: can't load ${name}: ${why}`);
  }
  try {
    return { url, factory: userPolicy(module, name.slice(name.lastIndexOf('/') + 1)) };
  } catch (error) {
    throw error instanceof PolicyError ? new UsageError(`--policy: ${error.message}`) : error;
  }
}

/** Of an import of what is not there: with the line, which Node keeps for itself. */
function importText({ message }: Error, name: string, text: string): string | undefined {
  const missing = /^Cannot find (?:module|package) '([^']+)'/.exec(message)?.[1];
  if (missing === undefined) return undefined;
  const end = missing.slice(missing.lastIndexOf('/') + 1);
  const line = text.split('\n').findIndex((one) => /import|from/.test(one) && one.includes(end));
  return line < 0 ? undefined : `${message} (${name}:${line + 1})`;
}

function readModule(name: string, file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') throw new UsageError(`--policy: there is no file ${name}`);
    throw new UsageError(`--policy: can't read ${name}: ${code ?? message}`);
  }
}

/** Node says of a module that does not parse what is wrong, but not where. */
async function checkSyntax(name: string, text: string): Promise<void> {
  // Loading it takes longer than most runs, which have no such module.
  const { parseAst } = await import('vite');
  try {
    parseAst(text);
  } catch (error) {
    const { message, pos } = error as Error & { pos?: number };
    const before = text.slice(0, pos ?? 0).split('\n');
    const place = `${before.length}:${before.at(-1)!.length + 1}`;
    const reason = message.split('\n')[1] ?? message;
    throw new UsageError(`--policy: can't load ${name}: ${reason} (${name}:${place})`);
  }
}
