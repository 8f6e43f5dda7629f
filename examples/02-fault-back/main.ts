/* CPU accesses to device pages: one by one, in order, at random, and those that end in a signal. */
import { Prng } from '../../src/index.ts';
import { byId } from '../_shell/dom.ts';
import { formatMs, hex32, hexAddress, percentile, plural } from '../_shell/numbers.ts';
import { EventLog } from '../_shell/event-log.ts';
import { LatencyRecord } from '../_shell/latency.ts';
import { PageMap } from '../_shell/page-map.ts';
import { runPage } from '../_shell/page.ts';
import type { Page } from '../_shell/page.ts';
import { Scene } from './scene.ts';
import type { Access } from './scene.ts';

const NPAGES = 256;
const RAM = { ramBytes: 2 ** 26 };
const BURST = 32;
const IN_ORDER = 'fault, in order';
const AT_RANDOM = 'fault, at random';
const RESIDENT = 'page in RAM';

const log = new EventLog(byId('verdict'));
const record = new LatencyRecord([IN_ORDER, AT_RANDOM, RESIDENT]);
const random = new Prng(1);
const data = document.documentElement.dataset;

function count(name: 'faults' | 'sigsegv' | 'sigbus' | 'wrongPages', by = 1): void {
  data[name] = String(Number(data[name] ?? 0) + by);
}

/** The page: what is shown follows what happens to the scene. */
class FaultBack {
  private readonly page: Page;
  private readonly map: PageMap;
  private scene: Scene;
  private isLost = false;

  constructor(page: Page, scene: Scene) {
    this.page = page;
    this.scene = scene;
    const onActivate = (at: number): void => void page.run(() => this.touch([at], IN_ORDER));
    this.map = new PageMap({ label: 'the range', onActivate });
    byId('map').append(this.map.element);
    byId('latency').append(record.element);
    byId('log').append(log.element);
    page.action('next', () => this.inOrder(1));
    page.action('order', () => this.inOrder(BURST));
    page.action('random', () => this.atRandom(BURST));
    page.action('send', () => this.send());
    page.action('unmapped', () => this.unmapped());
    page.action('lose', () => this.lose());
    page.action('fresh', () => this.restart());
  }

  async restart(): Promise<void> {
    await this.scene.machine.close();
    record.clear();
    this.isLost = false;
    this.scene = await Scene.open(this.page.options(RAM), NPAGES);
    await this.send();
  }

  async send(): Promise<void> {
    if (this.isLost)
      return log.add('The device is lost: nothing can go there. Open a new machine.');
    this.page.status.showMachine(this.scene.machine.report);
    const { cpages, addend } = await this.scene.send();
    await this.refresh();
    log.add(`${plural(cpages, 'page')} sent; the device added ${hex32(addend)} to each word.`);
  }

  inOrder(npages: number): Promise<void> {
    return this.touch(this.scene.away().slice(0, npages), IN_ORDER);
  }

  atRandom(npages: number): Promise<void> {
    const order = random.shuffle(Uint32Array.from(this.scene.away()));
    return this.touch([...order.subarray(0, npages)], AT_RANDOM);
  }

  async unmapped(): Promise<void> {
    this.answer(await this.scene.touchUnmapped(), 'no mapping there');
  }

  /** Touches pages one after the other; each that came home is touched again, for comparison. */
  async touch(pages: readonly number[], kind: string): Promise<void> {
    if (pages.length === 0) return log.add('No page is on the device. Send them there first.');
    const times: number[] = [];
    for (const at of pages) {
      const access = await this.scene.touch(at);
      if (access.signal !== null) {
        this.answer(access, `page ${at}`);
        continue;
      }
      record.add(this.scene.isAway(at) ? kind : RESIDENT, access.ms);
      if (!this.scene.isAway(at)) continue;
      times.push(access.ms);
      await this.check(at);
      record.add(RESIDENT, (await this.scene.touch(at)).ms);
    }
    await this.refresh();
    count('faults', times.length);
    if (times.length === 0) return;
    const typical = formatMs(percentile(times, 0.5));
    log.add(`${plural(times.length, 'page')} came home (${kind}): ${typical} at p50.`);
  }

  /** Loses the device, touches a page that was on it, and checks one that was not. */
  async lose(): Promise<void> {
    const [lost, home] = [this.scene.away(), this.scene.home()];
    await this.scene.machine.loseDevice();
    this.isLost = true;
    log.add(`The device is lost, and with it ${plural(lost.length, 'page')}.`, 'warn');
    await this.touch(lost.slice(0, 1), IN_ORDER);
    if (home === undefined || !(await this.check(home))) return;
    data['ramIntact'] = 'true';
    log.add(`Page ${home}, in RAM, is intact.`, 'good');
  }

  /** Says how an access ended that got no page. */
  private answer({ signal, address }: Access, where: string): void {
    if (signal !== null) count(signal === 'SIGBUS' ? 'sigbus' : 'sigsegv');
    log.add(`${signal ?? 'No signal'}: load from ${hexAddress(address)} (${where}).`, 'warn');
  }

  private async refresh(): Promise<void> {
    this.map.update(await this.scene.look());
    record.draw();
  }

  private async check(page: number): Promise<boolean> {
    if (await this.scene.isIntact(page)) return true;
    count('wrongPages');
    this.page.result('wrong');
    log.add(`Page ${page} came home with wrong content.`, 'warn');
    return false;
  }
}

await runPage(async (page) => {
  const demo = new FaultBack(page, await Scene.open(page.options(RAM), NPAGES));
  await page.run(() => demo.send());
  if (!page.isAutomatic) return;
  await page.run(() => demo.unmapped());
  await page.run(() => demo.inOrder(BURST));
  await page.run(() => demo.atRandom(BURST));
  page.result('ok');
});
