/*
 * What an adapter is called, in one place, so that no command passes software off as hardware.
 */

/** The plain part of GPUAdapterInfo, which can be sent between processes. */
export interface AdapterReport {
  readonly vendor: string;
  readonly architecture: string;
  readonly device: string;
  readonly description: string;
  readonly isFallbackAdapter: boolean;
}

/** Copies the fields of an adapter's info, which is a live object, into a plain report. */
export function reportOf(info: GPUAdapterInfo): AdapterReport {
  const { vendor, architecture, device, description, isFallbackAdapter } = info;
  return { vendor, architecture, device, description, isFallbackAdapter };
}

/** Whether the adapter runs on the CPU. Its times say nothing about a GPU. */
export function isSoftware(report: AdapterReport): boolean {
  const words = `${report.architecture} ${report.device} ${report.description}`;
  return report.isFallbackAdapter || /swiftshader|llvmpipe|lavapipe|basic render/i.test(words);
}

/** A short name for people, "google swiftshader (software adapter)". */
export function describeAdapter(report: AdapterReport): string {
  const words = [report.vendor, report.architecture || report.device, report.description];
  const seen = words.filter((word, i) => word !== '' && words.indexOf(word) === i);
  const name = seen.length === 0 ? 'unnamed adapter' : seen.join(' ');
  return isSoftware(report) ? `${name} (software adapter)` : name;
}
