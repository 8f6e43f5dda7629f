/*
 * Starts a command: `node --enable-source-maps cli/run.mjs NAME [options]` runs main() of
 * cli/NAME.ts.
 *
 * Node 20 can't run TypeScript: hooks of ours write blanks over the types (typescript-hooks.mjs).
 * The command's name is taken out of process.argv, so that a command sees its own options from
 * index 2 on.
 */
import { existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import './typescript.mjs';

const root = resolve(import.meta.dirname, '..');
const name = process.argv[2] ?? '';
const file = resolve(import.meta.dirname, `${name}.ts`);

function commands() {
  const { scripts } = JSON.parse(readFileSync(resolve(root, 'package.json'), 'utf8'));
  const ours = Object.entries(scripts).filter(([, line]) => line.includes('cli/run.mjs'));
  return ours.map(([script]) => script).join(', ');
}

function refuse(why) {
  process.stderr.write(`webhmm: ${why}; commands are: ${commands()}\n`);
  process.exit(1);
}

if (!/^[a-z][a-z-]*$/.test(name) || !existsSync(file)) {
  refuse(name === '' ? 'no command given' : `there is no command '${name}'`);
}
process.argv.splice(2, 1);

const { main } = await import(pathToFileURL(file).href);
if (typeof main !== 'function') {
  refuse(`cli/${name}.ts is a part of commands, not one`);
}
await main();
