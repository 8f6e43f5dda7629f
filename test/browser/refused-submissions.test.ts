/*
 * What the device refuses, in a browser: there, too, an uncaptured error comes before the answer of
 * the map behind it.
 */
import { describeRefusedSubmissions } from '../contract/refused-submissions.ts';

describeRefusedSubmissions();
