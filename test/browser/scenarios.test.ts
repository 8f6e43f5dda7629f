/*
 * The scenarios of docs/scenarios.md on WebGPU in a browser.
 */
import { describeScenarios } from '../contract/scenarios/all.ts';

describeScenarios('webgpu');
