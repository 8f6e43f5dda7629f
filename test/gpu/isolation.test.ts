/* Isolation on WebGPU: the cases of test/isolation, where staging rings are real, too. */
import { describeIsolation } from '../isolation/cases.ts';

describeIsolation('webgpu');
