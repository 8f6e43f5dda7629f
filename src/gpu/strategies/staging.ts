/*
 * Strategy `staging`: staging rings, and one copy command for each row, in list order. A PMD folio
 * is one command.
 */
import { copyStrategy } from './copy-commands.ts';

export const stagingStrategy = copyStrategy('staging', 'segment');
