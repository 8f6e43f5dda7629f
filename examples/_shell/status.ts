/*
 * The strip below the header: which adapter moves the pages, whether it is hardware, whether the
 * page is isolated. A software adapter is named as one on every page, so that nobody takes its
 * times for a GPU's.
 */
import type { AdapterReport, MachineReport } from '../../src/index.ts';
import { el } from './dom.ts';
import { formatBytes } from './numbers.ts';

/** The fields of an adapter that have a name in them. */
export type AdapterNames = Pick<
  AdapterReport,
  'vendor' | 'architecture' | 'device' | 'description' | 'isSoftware'
>;

const SOFTWARE = /swiftshader|llvmpipe|lavapipe|softpipe|basic render|\bwarp\b/i;

/** The strip. Its facts come in as the page learns them. */
export class StatusStrip {
  readonly element = el('dl', { class: 'status', 'aria-label': 'Status' });

  constructor() {
    this.set('Cross-origin isolated', crossOriginIsolated ? 'yes' : 'no', [
      crossOriginIsolated ? '' : 'bad',
    ]);
  }

  /** Shows what a machine is built of. */
  showMachine(report: MachineReport): void {
    this.showAdapter(report.engine === 'cpu' ? null : report.adapter);
    const devices = `${report.devices} × ${formatBytes(report.deviceBytes)} device memory`;
    this.set('Engine', report.engine, []);
    this.set('Machine', `${formatBytes(report.ramBytes)} RAM, ${devices}`, []);
  }

  /** Shows an adapter, or that the CPU engine stands in for one. */
  showAdapter(adapter: AdapterNames | null): void {
    if (adapter === null) {
      this.set('Adapter', 'none', ['warn', 'CPU engine: no page reaches a GPU']);
      return;
    }
    const badge = adapter.isSoftware ? ['warn', 'software adapter'] : ['good', 'GPU'];
    this.set('Adapter', adapterName(adapter), badge);
  }

  /** Shows that the browser has no adapter, which the page needs. */
  showNoAdapter(): void {
    this.set('Adapter', 'none', ['bad', 'no WebGPU adapter here: only the CPU engine runs']);
  }

  /** Shows one fact; `badge` is a tone (good, warn, bad) and, if it stands beside it, a text. */
  set(name: string, value: string, badge: readonly string[]): void {
    const [tone = '', text] = badge;
    const key = name.toLowerCase().replaceAll(' ', '-');
    const shown = text === undefined ? [value] : [`${value} `];
    const fact = el('dd', { class: text === undefined ? tone : '' }, ...shown);
    if (text !== undefined) fact.append(el('span', { class: `badge ${tone}` }, text));
    const item = el('div', { 'data-status': key }, el('dt', {}, name), fact);
    const old = this.element.querySelector(`[data-status="${key}"]`);
    if (old === null) this.element.prepend(item);
    else old.replaceWith(item);
  }
}

/** "google swiftshader", without repeating itself. */
export function adapterName(adapter: AdapterNames): string {
  const { vendor, architecture, device, description } = adapter;
  const words = [vendor, architecture || device, description].filter((word) => word !== '');
  return [...new Set(words)].join(' ') || 'unnamed adapter';
}

/** Asks the browser which adapter it has, without opening a device. Null when it has none. */
export async function probeAdapter(
  powerPreference?: GPUPowerPreference,
): Promise<AdapterNames | null> {
  // Browsers without WebGPU leave the property out, which its type does not know.
  const gpu = (navigator as { gpu?: GPU }).gpu;
  const asked = powerPreference === undefined ? {} : { powerPreference };
  const adapter = await gpu?.requestAdapter(asked);
  if (adapter === null || adapter === undefined) return null;
  const { vendor, architecture, device, description, isFallbackAdapter } = adapter.info;
  const names = `${vendor} ${architecture} ${device} ${description}`;
  const isSoftware = isFallbackAdapter || SOFTWARE.test(names);
  return { vendor, architecture, device, description, isSoftware };
}
