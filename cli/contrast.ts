/*
 * Contrast between text and what is behind it, after WCAG 2.2 ("contrast ratio", "relative
 * luminance").
 */

/** Red, green, blue from 0 to 255, alpha from 0 to 1, not premultiplied. */
export type Rgba = readonly [number, number, number, number];

/** Text from this size on (CSS pixels) needs less contrast; see requiredRatio(). */
const LARGE_PX = 24;
const LARGE_BOLD_PX = 18.66;
const WHITE: Rgba = [255, 255, 255, 1];

/** Draws `over` onto `under`. The result is opaque where `under` is. */
export function composite(over: Rgba, under: Rgba): Rgba {
  const alpha = over[3] + under[3] * (1 - over[3]);
  const mix = (i: 0 | 1 | 2): number =>
    alpha === 0 ? 0 : (over[i] * over[3] + under[i] * under[3] * (1 - over[3])) / alpha;
  return [mix(0), mix(1), mix(2), alpha];
}

/**
 * The ratio between a text colour and its background, from 1 to 21.
 *
 * @param text the text's colour, its alpha including the opacity of its ancestors
 * @param layers backgrounds from the element's own to the page's; the canvas under all is white
 */
export function contrastRatio(text: Rgba, layers: readonly Rgba[]): number {
  const under = layers.reduceRight((below, layer) => composite(layer, below), WHITE);
  const light = luminance(composite(text, under));
  const dark = luminance(under);
  return (Math.max(light, dark) + 0.05) / (Math.min(light, dark) + 0.05);
}

/** The least ratio that text of this size may have: 4.5, or 3 for large text. */
export function requiredRatio(fontPx: number, bold: boolean): number {
  return fontPx >= LARGE_PX || (bold && fontPx >= LARGE_BOLD_PX) ? 3 : 4.5;
}

function luminance([red, green, blue]: Rgba): number {
  return 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);
}

function linear(channel: number): number {
  const value = channel / 255;
  return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
}
