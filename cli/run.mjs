/*
 * Starts a command: `node --enable-source-maps cli/run.mjs NAME [options]` runs main() of
 * cli/NAME.ts.
 *
 * Node 20 can't run TypeScript. Vite, which the project needs anyway, can: its module runner takes
 * about 0.4 s to start, understands `?raw` shader imports and keeps line numbers right. The runner
 * stays open as long as the command runs, so that it may use `import()` (vite's runnerImport()
 * closes it first). The command's name is taken out of process.argv, so that a command sees its own
 * options from index 2 on.
 */
import { existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';

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

const { createRunnableDevEnvironment, resolveConfig } = await import('vite');
const config = {
  configFile: false,
  root,
  envDir: false,
  logLevel: 'error',
  environments: {
    command: {
      consumer: 'server',
      dev: { moduleRunnerTransform: true },
      resolve: { external: true, mainFields: [], conditions: ['node'] },
    },
  },
};
const environment = createRunnableDevEnvironment('command', await resolveConfig(config, 'serve'), {
  runnerOptions: { hmr: false },
  hot: false,
});
await environment.init();
const { main } = await environment.runner.import(file);
if (typeof main !== 'function') {
  refuse(`cli/${name}.ts is a part of commands, not one`);
}
await main();
await environment.close();
