/*
 * The scenarios of docs/scenarios.md on the CPU engine.
 */
import { CPU_HARNESS } from './cpu-harness.ts';
import { describeScenarios } from './scenarios/all.ts';
import { describeCopyScenarios } from './scenarios/copies.ts';

describeScenarios('cpu');
describeCopyScenarios(CPU_HARNESS);
