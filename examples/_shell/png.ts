/*
 * Plots as one PNG: below each other with titles and legends, a head that says where the numbers
 * come from, and a mark across them when they are not to be believed.
 */
import type { Picture } from './plot.ts';
import { colour } from './theme.ts';

/** What stands around the plots. */
export interface PngText {
  readonly title: string;
  /** Where the numbers come from, a line each. */
  readonly lines: readonly string[];
  /** Written across all of it; none when empty. */
  readonly watermark: string;
}

const MARGIN = 24;
const LINE = 20;
const MARKER = 26;

/** A canvas in CSS pixels whose bitmap is as fine as the screen. */
export function fineCanvas(width: number, height: number): CanvasRenderingContext2D {
  const canvas = document.createElement('canvas');
  canvas.width = Math.ceil(width * devicePixelRatio);
  canvas.height = Math.ceil(height * devicePixelRatio);
  const context = canvas.getContext('2d');
  if (context === null) throw new Error('this browser draws no pictures');
  context.scale(devicePixelRatio, devicePixelRatio);
  return context;
}

/** The pictures as one PNG. */
export function pngOf(pictures: readonly Picture[], text: PngText): Promise<Blob> {
  const sizes = pictures.map(({ canvas }) => ({
    width: canvas.width / devicePixelRatio,
    height: canvas.height / devicePixelRatio,
  }));
  const measure = fineCanvas(1, 1);
  setFont(measure, 13);
  const written = text.lines.map((line) => measure.measureText(line).width);
  const inner = Math.ceil(Math.max(520, ...written, ...sizes.map(({ width }) => width)));
  const legends = pictures.map(({ legend }) => placeLegend(measure, legend, inner));
  const head = MARGIN + (2 + text.lines.length) * LINE;
  const heights = pictures.map((_, i) => sizes[i]!.height + legends[i]!.height + 3 * LINE);
  const height = head + heights.reduce((sum, one) => sum + one, 0) + MARGIN;
  const context = fineCanvas(inner + 2 * MARGIN, height);
  context.fillStyle = colour('--surface');
  context.fillRect(0, 0, inner + 2 * MARGIN, height);
  context.textBaseline = 'middle';
  drawHead(context, text);
  let top = head;
  pictures.forEach((picture, i) => {
    drawPicture(context, picture, sizes[i]!, legends[i]!, top);
    top += heights[i]!;
  });
  if (text.watermark !== '') drawMark(context, text.watermark, inner + 2 * MARGIN, height);
  return blobOf(context.canvas);
}

function blobOf(canvas: HTMLCanvasElement): Promise<Blob> {
  return new Promise((resolve, reject) => {
    canvas.toBlob((blob) => {
      if (blob === null) reject(new Error('the picture is too large for this browser'));
      else resolve(blob);
    }, 'image/png');
  });
}

function setFont(context: CanvasRenderingContext2D, size: number, weight = 400): void {
  context.font = `${weight} ${size}px ${getComputedStyle(document.body).fontFamily}`;
}

function drawHead(context: CanvasRenderingContext2D, { title, lines }: PngText): void {
  context.fillStyle = colour('--text');
  setFont(context, 18, 600);
  context.fillText(title, MARGIN, MARGIN + LINE / 2);
  context.fillStyle = colour('--muted');
  setFont(context, 13);
  lines.forEach((line, i) => context.fillText(line, MARGIN, MARGIN + (1.5 + i) * LINE));
}

interface PlacedLegend {
  readonly height: number;
  readonly places: readonly { readonly x: number; readonly y: number }[];
}

function placeLegend(
  context: CanvasRenderingContext2D,
  legend: Picture['legend'],
  width: number,
): PlacedLegend {
  let [x, y] = [0, 0];
  const places = legend.map(({ label }) => {
    const needed = MARKER + 6 + context.measureText(label).width + 18;
    if (x > 0 && x + needed > width) [x, y] = [0, y + LINE];
    const place = { x, y };
    x += needed;
    return place;
  });
  return { height: legend.length === 0 ? 0 : y + LINE, places };
}

function drawPicture(
  context: CanvasRenderingContext2D,
  { title, canvas, legend }: Picture,
  size: { readonly width: number; readonly height: number },
  placed: PlacedLegend,
  top: number,
): void {
  context.fillStyle = colour('--text');
  setFont(context, 15, 600);
  context.fillText(title, MARGIN, top + LINE);
  const under = top + 2 * LINE;
  context.drawImage(canvas, MARGIN, under, size.width, size.height);
  setFont(context, 13);
  legend.forEach((entry, i) => {
    const x = MARGIN + placed.places[i]!.x;
    const y = under + size.height + placed.places[i]!.y + LINE / 2;
    context.beginPath();
    context.strokeStyle = entry.colour;
    context.lineWidth = 2.5;
    context.setLineDash([...entry.dash]);
    context.moveTo(x, y);
    context.lineTo(x + MARKER, y);
    context.stroke();
    context.fillStyle = colour('--text');
    context.fillText(entry.label, x + MARKER + 6, y);
  });
  context.setLineDash([]);
}

function drawMark(
  context: CanvasRenderingContext2D,
  text: string,
  width: number,
  height: number,
): void {
  context.save();
  context.globalAlpha = 0.25;
  context.fillStyle = colour('--bad');
  context.textAlign = 'center';
  setFont(context, 40, 700);
  for (let y = 160; y < height; y += 320) {
    context.save();
    context.translate(width / 2, y);
    context.rotate(-Math.PI / 12);
    context.fillText(text, 0, 0, width * 0.9);
    context.restore();
  }
  context.restore();
}
