/*
 * Fills that can be told apart without their hue: plain, wide stripes, narrow stripes, in turns.
 */

/** Stripes of a fill: what of each period is left empty, in pixels; null for a plain one. */
interface Stripes {
  readonly period: number;
  readonly gap: number;
}

const TURNS: readonly (Stripes | null)[] = [null, { period: 8, gap: 2 }, { period: 4, gap: 1.5 }];

function stripesOf(i: number): Stripes | null {
  return TURNS[i % TURNS.length] ?? null;
}

/** The fill number `i` as a background, of a colour in CSS. */
export function hatchedBackground(i: number, fill: string): string {
  const stripes = stripesOf(i);
  if (stripes === null) return fill;
  const { period, gap } = stripes;
  const [from, to] = [`${period - gap}px`, `${period}px`];
  return `repeating-linear-gradient(90deg, ${fill} 0 ${from}, var(--surface) ${from} ${to})`;
}

/** The same for a canvas. @param empty colour of the gaps */
export function hatchedFill(
  context: CanvasRenderingContext2D,
  i: number,
  fill: string,
  empty: string,
): string | CanvasPattern {
  const stripes = stripesOf(i);
  if (stripes === null) return fill;
  const { period, gap } = stripes;
  // Half pixels are whole ones here.
  const tile = document.createElement('canvas');
  [tile.width, tile.height] = [period * 2, 2];
  const inner = tile.getContext('2d');
  if (inner === null) return fill;
  inner.fillStyle = empty;
  inner.fillRect(0, 0, period * 2, 2);
  inner.fillStyle = fill;
  inner.fillRect(0, 0, (period - gap) * 2, 2);
  const pattern = context.createPattern(tile, 'repeat');
  pattern?.setTransform(new DOMMatrix().scale(0.5));
  return pattern ?? fill;
}
