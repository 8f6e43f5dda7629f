/*
 * The copy-engine contract on the CPU engine.
 */
import { describeCopyEngine } from './copy-engine-contract.ts';
import { CPU_HARNESS } from './cpu-harness.ts';

describeCopyEngine(CPU_HARNESS);
