/*
 * The scenarios of docs/scenarios.md on WebGPU, in Node through Dawn.
 */
import { describeScenarios } from '../contract/scenarios/all.ts';

describeScenarios('webgpu');
