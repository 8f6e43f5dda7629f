/*
 * The page's results: the run that is shown, others beside it, the one that is going on, and the
 * files that they come from and go to.
 */
import { tidyCsv } from '../../bench/exports.ts';
import { mailText } from '../../bench/mail-text.ts';
import type { BenchCell, BenchReport } from '../../bench/types.ts';
import { byId, byIdAs } from '../_shell/dom.ts';
import { copyText, save } from '../_shell/files.ts';
import type { Page } from '../_shell/page.ts';
import { pngOf } from '../_shell/png.ts';
import { fileName, openReport, pngText } from './report-files.ts';
import { ReportView, showCaution } from './report-view.ts';
import { MOST_RUNS, RunList, runName } from './runs.ts';
import type { MapSettings, ViewSettings } from './settings.ts';

/** The letter of a run that is going on. */
const NOW = 'now';
const FULL = `There are ${MOST_RUNS} runs already: remove one first.`;

export class Results {
  private readonly view: ReportView;
  private readonly runs: RunList;
  private readonly page: Page;
  private viewed: ViewSettings;
  /** Cells of the run that is going on; null while there is none. */
  private live: readonly BenchCell[] | null = null;

  constructor(page: Page, viewed: ViewSettings, map: MapSettings) {
    this.page = page;
    this.viewed = viewed;
    this.view = new ReportView(viewed, map, (changed) => {
      this.viewed = changed;
      this.fillMail();
    });
    this.runs = new RunList(byId('runs'), () => this.show());
    this.wireFiles();
  }

  /** Why no run can begin; null when one can: it has a place to come to at its end. */
  get refusal(): string | null {
    return this.hasRoom ? null : FULL;
  }

  private get hasRoom(): boolean {
    return this.runs.all.length + (this.live === null ? 0 : 1) < MOST_RUNS;
  }

  /** A run begins: what it finds takes the place of the report that is shown. */
  begin(): void {
    this.live = [];
    this.runs.lock(true);
    this.view.hideReport();
    showCaution([], false);
  }

  /** Cells of the run that is going on, beside the runs that there are. */
  showCells(cells: readonly BenchCell[]): void {
    this.live = cells;
    this.view.showCells(cells, NOW, this.runs.all);
  }

  /** The run is over and gave its report; it is shown. */
  finish(report: BenchReport): void {
    this.end();
    this.runs.add(report, true);
    this.show();
  }

  /** The run is over without a report: what it found so far stays, or else the run before it. */
  abandon(cells: readonly BenchCell[]): void {
    this.end();
    if (cells.length > 0) this.view.showCells(cells, NOW, this.runs.all);
    else this.show();
  }

  private end(): void {
    this.live = null;
    this.runs.lock(false);
  }

  private show(): void {
    const [shown, ...others] = this.runs.all;
    if (shown === undefined) return;
    // Without a plot that is drawn a picture would be a title alone.
    const allow = (isDrawn: boolean): void => {
      for (const kind of ['json', 'csv'])
        byIdAs(`save-${kind}`, HTMLButtonElement).disabled = false;
      byIdAs('save-png', HTMLButtonElement).disabled = !isDrawn;
      this.fillMail();
    };
    if (this.live !== null) {
      this.showCells(this.live);
      return allow(this.view.pictures().length > 0);
    }
    const { env } = shown.report;
    this.page.status.showAdapter(env.engine === 'cpu' ? null : env.adapter);
    this.view.showRuns(shown, others);
    allow(this.view.pictures().length > 0);
  }

  private wireFiles(): void {
    const wire = (id: string, act: (report: BenchReport) => unknown): void => {
      byId(id).addEventListener('click', () => {
        if (this.runs.shown !== null) void act(this.runs.shown.report);
      });
    };
    wire('save-json', (report) =>
      save(JSON.stringify(report, null, 1), fileName(report, 'json'), 'application/json'),
    );
    wire('save-csv', (report) => save(tidyCsv(report), fileName(report, 'csv'), 'text/csv'));
    wire('save-png', (report) => this.savePng(report));
    wire('copy-mail', async () => {
      byId('mail-note').textContent = await copyText(byId('mail-text'));
    });
    const open = byIdAs('open', HTMLInputElement);
    open.addEventListener('change', () => {
      const files = [...(open.files ?? [])];
      // Else choosing the same file again, mended or taken away meanwhile, would be no change.
      open.value = '';
      void this.open(files);
    });
  }

  /** Takes files in, and says of each what became of it. */
  private async open(files: readonly File[]): Promise<void> {
    const said: string[] = [];
    for (const file of files) {
      try {
        said.push(this.take(await openReport(file), file.name));
      } catch (error) {
        said.push(`${(error as Error).message}.`);
      }
    }
    byId('files-note').textContent = said.join(' ');
  }

  /** Takes a run in that was opened; what can't be shown leaves no trace. */
  private take(report: BenchReport, name: string): string {
    if (!this.hasRoom) return `${name} was not opened. ${FULL}`;
    const letter = this.runs.add(report, false);
    try {
      this.show();
    } catch (error) {
      this.runs.drop(letter);
      this.show();
      throw new Error(`${name} can't be shown: ${(error as Error).message}`, { cause: error });
    }
    const opened = `Opened ${name} as run ${letter}: ${runName(report)}.`;
    const isShown = this.runs.shown?.letter === letter && this.live === null;
    const how = isShown
      ? ''
      : ' The plots lay it over the others; choose it below to see its goals.';
    return `${opened}${how}`;
  }

  private async savePng(report: BenchReport): Promise<void> {
    const text = pngText(this.runs.all);
    save(await pngOf(this.view.pictures(), text), fileName(report, 'png'), 'image/png');
  }

  /** GB/s by folio size, as text. */
  private fillMail(): void {
    const report = this.runs.shown?.report;
    const text = report === undefined ? null : mailText(report, this.viewed.counted);
    byId('mail').hidden = text === null;
    byId('mail-note').textContent = '';
    byId('mail-text').textContent = text;
  }
}
