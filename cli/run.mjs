/*
 * Starts a command: `node --enable-source-maps cli/run.mjs NAME [options]` runs main() of
 * cli/NAME.ts.
 *
 * Node 20 can't run TypeScript: a command is bundled when it is first started (command-bundle.mjs).
 * The command's name is taken out of process.argv, so that a command sees its own options from
 * index 2 on.
 */
import { existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { importCommand } from './command-bundle.mjs';

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

const { main } = await importCommand(name);
if (typeof main !== 'function') {
  refuse(`cli/${name}.ts is a part of commands, not one`);
}
await main();
