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
import pageLines from '../../shaders/shared/page-lines.wgsl?raw';
import pageParts from '../../shaders/shared/page-parts.wgsl?raw';
import type { KernelName } from './abi.ts';
import type { LinkedShader } from './shader-link.ts';
import { linkShader } from './shader-link.ts';

/**
 * The parts that kernels may import.
 *
 * @param wholeLines whether a kernel sees pages as 64-byte lines or as 16-byte parts
 */
export function sharedParts(wholeLines: boolean): Readonly<Record<string, string>> {
  return { abi, checksum, page: wholeLines ? pageLines : pageParts };
}

const KERNEL_SOURCES: Readonly<Record<KernelName, string>> = {
  'copy-pages': copyPages,
  'gather-pages': gatherPages,
  'scatter-pages': scatterPages,
  'clear-pages': clearPages,
  'checksum-pages': checksumPages,
  'add-words': addWords,
};

/** The linked source of a kernel; `wholeLines` as for sharedParts(). */
export function kernelSource(name: KernelName, wholeLines: boolean): LinkedShader {
  return linkShader(name, KERNEL_SOURCES[name], sharedParts(wholeLines));
}
