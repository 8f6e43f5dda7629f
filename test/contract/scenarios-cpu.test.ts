/*
 * The scenarios of docs/scenarios.md on the CPU engine.
 */
import { describeScenarios } from './scenarios/all.ts';

describeScenarios('cpu');
