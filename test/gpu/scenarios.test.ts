/*
 * The scenarios of docs/scenarios.md on WebGPU, in Node through Dawn.
 */
import { describeScenarios } from '../contract/scenarios/all.ts';
import { describeCopyScenarios, SMALL_SLOTS } from '../contract/scenarios/copies.ts';
import { webgpuHarness } from '../contract/webgpu-harness.ts';

describeScenarios('webgpu');
describeCopyScenarios(webgpuHarness('WebGPU', SMALL_SLOTS));
