/*
 * The text of every shader, as the bundler includes it, linked.
 */
import addWords from '../../shaders/add-words.wgsl?raw';
import checksumPages from '../../shaders/checksum-pages.wgsl?raw';
import clearPages from '../../shaders/clear-pages.wgsl?raw';
import copyPages from '../../shaders/copy-pages.wgsl?raw';
import gatherPages from '../../shaders/gather-pages.wgsl?raw';
import scatterPages from '../../shaders/scatter-pages.wgsl?raw';
import abi from '../../shaders/shared/abi.wgsl?raw';
import checksum from '../../shaders/shared/checksum.wgsl?raw';
import page from '../../shaders/shared/page.wgsl?raw';
import type { KernelName } from './abi.ts';
import type { LinkedShader } from './shader-link.ts';
import { linkShader } from './shader-link.ts';

/** The parts that kernels may import. */
export const SHARED_PARTS: Readonly<Record<string, string>> = { abi, checksum, page };

const KERNEL_SOURCES: Readonly<Record<KernelName, string>> = {
  'copy-pages': copyPages,
  'gather-pages': gatherPages,
  'scatter-pages': scatterPages,
  'clear-pages': clearPages,
  'checksum-pages': checksumPages,
  'add-words': addWords,
};

/** The linked source of a kernel. */
export function kernelSource(name: KernelName): LinkedShader {
  return linkShader(name, KERNEL_SOURCES[name], SHARED_PARTS);
}
