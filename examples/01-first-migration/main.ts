/*
 * One range to the device and home again. Every call is awaited and timed on this page, so each
 * time includes the hop to the kernel worker.
 */
import { Machine, PAGE_SIZE, PROT_READ, PROT_WRITE } from '../../src/index.ts';
import type { Process, StrategyName, TestDevice } from '../../src/index.ts';
import { usableStrategies } from '../_shell/address.ts';
import { counterTables } from '../_shell/counters.ts';
import { byId, byIdAs, el } from '../_shell/dom.ts';
import { formatBytes, hex32, hexAddress, plural } from '../_shell/numbers.ts';
import { PageMap } from '../_shell/page-map.ts';
import { runPage } from '../_shell/page.ts';
import { clearSteps, showStep, timed } from './steps.ts';
import { addedWords, mappedWords, migratedWords, sawMigration } from './words.ts';
import { touchedWords, writtenWords } from './words.ts';

const map = new PageMap({ label: 'the migrated range' });

/** The range that makes the journey, and what the CPU wrote into it: no two words are equal. */
class Journey {
  readonly process: Process;
  readonly npages: number;
  readonly content: Uint32Array<ArrayBuffer>;
  addr = 0;

  constructor(process: Process, npages: number) {
    this.process = process;
    this.npages = npages;
    const length = (npages * PAGE_SIZE) / 4;
    this.content = Uint32Array.from({ length }, (_, word) => word + 1);
  }

  /** Does one thing, and shows it as a step. */
  async step<T>(
    title: string,
    call: string,
    work: () => Promise<T>,
    explain: (result: T, codes: Uint8Array) => string,
  ): Promise<T> {
    const [result, ms] = await timed(work);
    const codes = await this.entries();
    showStep(map, { title, call, text: explain(result, codes), ms, entries: [codes] });
    return result;
  }

  entries(): Promise<Uint8Array> {
    return this.process.pageMap(this.addr, this.npages);
  }

  /** Maps the range and fills it from the CPU. */
  async prepare(): Promise<void> {
    const { process, content } = this;
    const length = content.byteLength;
    const map = async (): Promise<void> => {
      this.addr = await process.mmap({ length, prot: PROT_READ | PROT_WRITE });
    };
    const call = `mmap(${length}, PROT_READ | PROT_WRITE)`;
    await this.step('Map a range', call, map, (_, codes) => {
      return `${formatBytes(length)} at ${hexAddress(this.addr)}: ${mappedWords(codes)}`;
    });
    const write = (): Promise<void> => process.write(this.addr, new Uint8Array(content.buffer));
    await this.step('Write it from the CPU', `write(${length} bytes)`, write, (_, codes) => {
      return `The first word is ${hex32(content[0] ?? 0)}; ${writtenWords(codes)}`;
    });
  }

  /** Moves the range to the device, looking at its entries while the copy is under way. */
  async migrate(device: TestDevice): Promise<number> {
    const { addr, npages } = this;
    const moving = timed(() => device.ioctl('MIGRATE_TO_DEV', { addr, ptr: 0, npages }));
    const [during, [{ cpages }, ms]] = await Promise.all([this.entries(), moving]);
    const after = await this.entries();
    const text = migratedWords(cpages, during, after);
    const call = `ioctl(HMM_DMIRROR_MIGRATE_TO_DEV, ${plural(npages, 'page')})`;
    const entries = sawMigration(during) ? [during, after] : [after];
    showStep(map, { title: 'Migrate to the device', call, text, ms, entries });
    return cpages;
  }

  /** Adds a number, drawn now, on the device; reads all back. Returns how many words are wrong. */
  async changeAndReadBack(device: TestDevice): Promise<number> {
    const { addr, npages, process, content } = this;
    const addend = crypto.getRandomValues(new Uint32Array(1))[0] ?? 0;
    const add = () => device.ioctl('ADD', { addr, ptr: addend, npages });
    const { engine } = process.machine.report;
    await this.step('Change it there', `ioctl(WEBHMM_DMIRROR_ADD, ${hex32(addend)})`, add, () => {
      return `${addedWords(engine, hex32(addend))} The command is WebHMM's own; Linux has none.`;
    });
    const load = `load from ${hexAddress(addr)}`;
    await this.step(
      'Touch the first page',
      load,
      () => process.touch(addr, 'read'),
      (_, codes) => touchedWords(codes),
    );
    const readAll = () => process.read(addr, content.byteLength);
    const sum = (bytes: Uint8Array<ArrayBuffer>): string => {
      const first = new Uint32Array(bytes.buffer)[0] ?? 0;
      return `${hex32(content[0] ?? 0)} + ${hex32(addend)} = ${hex32(first)}`;
    };
    const call = `read(${content.byteLength} bytes)`;
    const bytes = await this.step('Read everything back', call, readAll, sum);
    const words = new Uint32Array(bytes.buffer);
    return words.filter((word, i) => word !== ((content[i] ?? 0) + addend) >>> 0).length;
  }
}

async function run(machine: Machine): Promise<void> {
  const chosen = (id: string): string => byIdAs(id, HTMLSelectElement).value;
  clearSteps();
  await machine.setStrategy(chosen('strategy') as StrategyName);
  const before = await machine.counters();
  const process = await machine.spawn();
  const journey = new Journey(process, Number(chosen('pages')));
  await journey.prepare();
  const device = await process.openDevice(Number(chosen('device')));
  const cpages = await journey.migrate(device);
  const wrongWords = await journey.changeAndReadBack(device);
  const after = await machine.counters();
  byId('counters').replaceChildren(...counterTables(before, after));
  await process.exit();
  const { device_private_fault: now = 0 } = after.vm;
  const faults = now - (before.vm['device_private_fault'] ?? 0);
  Object.assign(document.documentElement.dataset, { faults, cpages, wrongWords });
  const words = plural(journey.content.length, 'word');
  const noGpu = machine.report.engine === 'cpu' ? ' No GPU took part.' : '';
  byId('verdict').className = wrongWords === 0 ? 'verdict good' : 'verdict bad';
  byId('verdict').textContent =
    wrongWords === 0
      ? `All ${words} are what the device made of them: ${plural(cpages, 'page')} went there,
         ${plural(faults, 'fault')} brought them home.${noGpu}`
      : `${wrongWords} of ${words} came home wrong.`;
}

await runPage(async (page) => {
  byId('map').append(map.element);
  const machine = await Machine.create(page.options({ ramBytes: 64 * 2 ** 20 }));
  page.status.showMachine(machine.report);
  const asked = page.query.get('strategy') ?? 'auto';
  const options = usableStrategies(machine.report.engine).map((name) =>
    el('option', { selected: name === asked }, name),
  );
  byId('strategy').replaceChildren(...options);
  const start = async (): Promise<void> => {
    await run(machine);
    page.result(document.documentElement.dataset['wrongWords'] === '0' ? 'ok' : 'wrong');
  };
  page.action('again', start);
  if (page.isAutomatic) await page.run(start);
  else byId('verdict').textContent = 'Ready.';
});
