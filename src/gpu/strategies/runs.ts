/*
 * Strategy `runs`: rows are sorted by VRAM frame and laid out in that order in the staging buffer,
 * so that one copy command moves every run of neighbours, across rows.
 */
import { copyStrategy } from './copy-commands.ts';

export const runsStrategy = copyStrategy('runs', 'run');
