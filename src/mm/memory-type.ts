/**
 * Kinds of device memory (include/linux/memremap.h: enum memory_type). In a file of their own, so
 * that the page array and the pagemaps, which need each other, both have them.
 */

/** The CPU can't reach it: page tables hold device-private entries for it. */
export const MEMORY_DEVICE_PRIVATE = 1;
/** The CPU reaches it like RAM, through present entries, and it still belongs to a device. */
export const MEMORY_DEVICE_COHERENT = 2;
export const MEMORY_DEVICE_FS_DAX = 3;
export const MEMORY_DEVICE_GENERIC = 4;
export const MEMORY_DEVICE_PCI_P2PDMA = 5;

/** Pagemaps that a machine can have at a time: MemMap.pgmap has a byte per page, 0 means RAM. */
export const MAX_PAGEMAPS = 255;
