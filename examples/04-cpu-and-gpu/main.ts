/* Cores and devices at the same array: start, watch, stop, add up. */
import type { Counters } from '../../src/index.ts';
import { Prng } from '../../src/index.ts';
import { counterTables } from '../_shell/counters.ts';
import { byId, byIdAs, el } from '../_shell/dom.ts';
import { formatCount } from '../_shell/numbers.ts';
import { PageMap } from '../_shell/page-map.ts';
import { runPage } from '../_shell/page.ts';
import type { Page } from '../_shell/page.ts';
import { Histogram } from './histogram.ts';
import { Scene } from './scene.ts';

const NPAGES = 256;
const RAM = { ramBytes: 2 ** 26 };
const DEVICES = 2;
/** How often the page looks at the machine. */
const LOOK_MS = 100;
/** How long the run lasts that the page makes by itself. */
const AUTOMATIC_MS = 1500;

const stopButton = byIdAs('stop', HTMLButtonElement);
const verdict = byId('verdict');
const data = document.documentElement.dataset;

function chosen(name: string): number {
  const input = document.querySelector<HTMLInputElement>(`input[name=${name}]:checked`);
  return Number(input?.value ?? 1);
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

class Turns {
  private readonly page: Page;
  private readonly scene: Scene;
  private readonly map = new PageMap({ label: 'the array' });
  private readonly histogram = new Histogram('Faults by the time that a core stood still');
  private readonly random = new Prng(1);
  private isRunning = false;
  private deviceTurns = 0;

  constructor(page: Page, scene: Scene) {
    this.page = page;
    this.scene = scene;
    byId('map').append(this.map.element);
    byId('histogram').append(this.histogram.element);
    page.action('start', () => this.run(Infinity));
    stopButton.addEventListener('click', () => (this.isRunning = false));
    page.status.showMachine(scene.machine.report);
  }

  /** Lets cores and devices run until Stop, or for that long; then adds up. */
  async run(forMs: number): Promise<void> {
    const cores = chosen('cores');
    const before = await this.scene.machine.counters();
    this.deviceTurns = 0;
    this.isRunning = true;
    stopButton.disabled = false;
    verdict.textContent = `${cores} cores and ${DEVICES} devices at work…`;
    try {
      await this.scene.start({ cores, sleepMs: chosen('pace') });
      const end = performance.now() + forMs;
      const watching = this.watch(cores, before);
      await Promise.all(Array.from({ length: DEVICES }, (_, minor) => this.drive(minor, end)));
      this.isRunning = false;
      await watching;
    } finally {
      this.isRunning = false;
      stopButton.disabled = true;
    }
    verdict.textContent = 'Stopping the cores…';
    await this.scene.stop();
    await this.show(cores, before);
    await this.addUp();
  }

  /** Turns of one device, until the run is over. */
  private async drive(minor: number, end: number): Promise<void> {
    while (this.isRunning && performance.now() < end) {
      await this.scene.deviceTurn(minor, this.random.below(NPAGES));
      this.deviceTurns++;
      await pause(5);
    }
  }

  private async watch(cores: number, before: Counters): Promise<void> {
    while (this.isRunning) {
      await this.show(cores, before);
      await pause(LOOK_MS);
    }
  }

  private async show(cores: number, before: Counters): Promise<void> {
    const { scene } = this;
    this.map.update(await scene.look());
    const { adds, buckets } = await scene.notes(cores);
    this.histogram.update(buckets);
    const faults = buckets.reduce((sum, count) => sum + count, 0);
    const sum = adds.reduce((total, one) => total + one, 0);
    const counters = await scene.machine.counters();
    const taken = counters.vm['pgmigrate_to_device']! - before.vm['pgmigrate_to_device']!;
    const figures: readonly (readonly [string, number])[] = [
      ['Additions by cores', sum],
      ['Faults of cores', faults],
      ['Turns of devices', this.deviceTurns],
      ['Pages taken by devices', taken],
    ];
    byId('figures').replaceChildren(
      ...figures.map(([name, value]) =>
        el('div', {}, el('dt', {}, name), el('dd', {}, formatCount(value))),
      ),
    );
    byId('counters').replaceChildren(...counterTables(before, counters));
    data['faults'] = String(faults);
    data['adds'] = String(sum);
    data['taken'] = String(taken);
  }

  private async addUp(): Promise<void> {
    const { found, expected } = await this.scene.sums();
    // The map keeps showing where the pages were: adding up has brought them all home.
    const isRight = found === expected;
    this.page.result(isRight ? 'ok' : 'wrong');
    verdict.textContent = isRight
      ? `Nothing lost: ${formatCount(found)} additions were made, and that is the array's sum.`
      : `The array's sum is ${formatCount(found)}, but ${formatCount(expected)} were added.`;
  }
}

await runPage(async (page) => {
  const turns = new Turns(page, await Scene.open(page.options(RAM), NPAGES));
  verdict.textContent = 'The machine is open. Start lets cores and devices run.';
  if (page.isAutomatic) await page.run(() => turns.run(AUTOMATIC_MS));
});
