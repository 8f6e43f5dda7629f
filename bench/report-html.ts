/**
 * The report as one HTML file: no request leaves it, plots are SVG, the theme follows the
 * reader's system with a button to change it, and tables scroll by themselves on a narrow screen.
 */
import { adapterName } from './format.ts';
import { reportPlots } from './report-plots.ts';
import { escapeHtml } from './svg-plot.ts';
import { reportFacts, reportTables, warnings } from './tables.ts';
import type { Table } from './tables.ts';
import { isBroken } from './types.ts';
import type { BenchReport } from './types.ts';

const LIGHT = `
  --paper:#fbfbf9;--ink:#1c2126;--soft:#5a646e;--rule:#d5d9dc;--card:#fff;--warn-ink:#7a1f00;
  --warn-paper:#ffe9dc;--good:#0b6b38;--bad:#b3261e;--series-0:#1f6fd0;--series-1:#c2410c;
  --series-2:#0f7a4d;--series-3:#8b3fb8;--series-4:#a86b00;--series-5:#0c7489;--series-6:#b4235f;
  color-scheme:light;`;
const DARK = `
  --paper:#15191d;--ink:#e6e9ec;--soft:#9aa5af;--rule:#37404a;--card:#1c2227;--warn-ink:#ffd9c4;
  --warn-paper:#4a2412;--good:#57cf90;--bad:#ff8a80;--series-0:#6bb1ff;--series-1:#ff9a62;
  --series-2:#57cf90;--series-3:#cf9bf2;--series-4:#f0b849;--series-5:#5fd0e6;--series-6:#ff8fbd;
  color-scheme:dark;`;

const STYLE = `
:root{${LIGHT}}
@media (prefers-color-scheme:dark){:root{${DARK}}}
:root[data-theme=light]{${LIGHT}}
:root[data-theme=dark]{${DARK}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:1180px;margin:0 auto;padding:1rem}
header{display:flex;flex-wrap:wrap;gap:.5rem 1rem;align-items:baseline}
h1{font-size:1.5rem;margin:0;flex:1 1 14rem}
h2{font-size:1.15rem;margin:2rem 0 .5rem}
button{font:inherit;color:inherit;background:var(--card);border:1px solid var(--soft);
  border-radius:.3rem;padding:.25rem .7rem;cursor:pointer}
button:focus-visible,.scroll:focus-visible{outline:2px solid var(--series-0);outline-offset:2px}
.warning{background:var(--warn-paper);color:var(--warn-ink);padding:.6rem .8rem;font-weight:600;
  border-radius:.3rem;margin:.8rem 0}
.note{color:var(--soft);font-size:.9rem;margin:.4rem 0 0;max-width:46rem}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem 1rem;margin:1rem 0}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
.scroll{overflow-x:auto;border:1px solid var(--rule);border-radius:.3rem;background:var(--card)}
table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums;width:100%}
th,td{padding:.25rem .6rem;text-align:right;white-space:nowrap;border-bottom:1px solid var(--rule)}
tr:last-child td,tr:last-child th{border-bottom:0}
thead th{color:var(--soft);font-weight:600}
th:first-child,th.text,td.text{text-align:left}
td.wide{white-space:normal;min-width:16rem}
.good{color:var(--good);font-weight:600}.bad{color:var(--bad);font-weight:600}
.plots{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,22rem),1fr));gap:1rem}
figure{margin:0;padding:.7rem;border:1px solid var(--rule);border-radius:.3rem;
  background:var(--card);min-width:0}
figcaption{font-weight:600;font-size:.95rem;margin-bottom:.3rem}
figure>svg{width:100%;height:auto;display:block}
svg text{font:15px system-ui,sans-serif;fill:var(--soft)}
.grid{stroke:var(--rule);fill:none}.axis{stroke:var(--soft);fill:none}
.line{stroke:var(--c);stroke-width:1.8;fill:none}
circle{fill:var(--c)}.interval{stroke:var(--c);stroke-width:1.2;opacity:.6}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:.1rem .9rem;margin:.3rem 0 0;padding:0;
  font-size:.85rem}
.legend svg{width:24px;height:8px;margin-right:.35rem;vertical-align:middle}
`;

const SCRIPT = `
const root=document.documentElement,button=document.querySelector('button');
const dark=()=>root.dataset.theme?root.dataset.theme==='dark'
  :matchMedia('(prefers-color-scheme:dark)').matches;
const show=()=>{button.textContent=dark()?'Light theme':'Dark theme'};
button.addEventListener('click',()=>{root.dataset.theme=dark()?'light':'dark';show()});
matchMedia('(prefers-color-scheme:dark)').addEventListener('change',show);
show();
`;

const NUMBER = /^(-|FAIL|-?[\d.]*[KMG]?)$/;

/** The head of a column of text is on the left, like its text. */
function headMarkup(table: Table, name: string, at: number): string {
  const isText = table.rows.some((row) => !NUMBER.test(row[at]!));
  return `<th scope="col"${isText ? ' class="text"' : ''}>${escapeHtml(name)}</th>`;
}

function cellMarkup(text: string, at: number): string {
  if (at === 0) return `<th scope="row">${escapeHtml(text)}</th>`;
  if (text === 'holds') return '<td class="text good">holds</td>';
  if (text === 'MISS' || text === 'FAIL') return `<td class="text bad">${text}</td>`;
  const kind = text.length > 40 ? ' class="text wide"' : ' class="text"';
  return `<td${NUMBER.test(text) ? '' : kind}>${escapeHtml(text)}</td>`;
}

function tableMarkup(table: Table): string {
  const title = escapeHtml(table.title);
  const head = table.columns.map((name, at) => headMarkup(table, name, at)).join('');
  const rows = table.rows.map((row) => `<tr>${row.map(cellMarkup).join('')}</tr>`).join('');
  const body = `<table><thead><tr>${head}</tr></thead><tbody>${rows}</tbody></table>`;
  const scroll = `<div class="scroll" tabindex="0" role="region" aria-label="${title}">`;
  const notes = table.notes === undefined ? '' : escapeHtml(table.notes.join(' '));
  const below = notes === '' ? '' : `<p class="note">${notes}</p>`;
  return `<h2>${title}</h2>${scroll}${body}</div>${below}`;
}

function failures(report: BenchReport): string {
  const failed = report.cells.filter(isBroken);
  const list = (title: string, rows: readonly (readonly [string, string])[]): string =>
    rows.length === 0 ? '' : tableMarkup({ title, columns: ['cell', 'why'], rows });
  return (
    list(
      'Not verified',
      failed.map(({ id, failure }) => [id, failure ?? ''] as const),
    ) +
    list(
      'Left out',
      report.omitted.map(({ id, why }) => [id, why] as const),
    )
  );
}

/** The whole document. */
export function htmlReport(report: BenchReport): string {
  const facts = [['adapter', adapterName(report.env.adapter)] as const, ...reportFacts(report)]
    .map(([name, value]) => `<dt>${escapeHtml(name)}</dt><dd>${escapeHtml(value)}</dd>`)
    .join('');
  const alarms = warnings(report).map((line) => `<p class="warning">${escapeHtml(line)}</p>`);
  const plots = reportPlots(report);
  return `<!doctype html>
<html lang="en-GB">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<title>WebHMM copy offload benchmark</title>
<style>${STYLE}</style>
<main>
<header><h1>WebHMM copy offload benchmark</h1><button type="button">Theme</button></header>
${alarms.join('')}
<dl>${facts}</dl>
${plots.length === 0 ? '' : `<h2>Plots</h2><div class="plots">${plots.join('\n')}</div>`}
${reportTables(report).map(tableMarkup).join('\n')}
${failures(report)}
</main>
<script>${SCRIPT}</script>
</html>
`;
}
