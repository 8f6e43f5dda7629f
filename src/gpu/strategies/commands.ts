/*
 * Strategy `commands`: staging rings, and one copy command for each page, whatever the row covers.
 * The plain way, and the one that others are compared with.
 */
import { copyStrategy } from './copy-commands.ts';

export const commandsStrategy = copyStrategy('commands', 'page');
