/*
 * Checks that run on a page in a browser, for `npm run shots`.
 *
 * The functions under "in the page" are sent to the browser as text: they must not use anything
 * from outside their own body. They only collect; what is judged is judged here, where it can be
 * tested.
 */
import type { Page } from 'playwright';
import { contrastRatio, requiredRatio } from './contrast.ts';
import type { Rgba } from './contrast.ts';

/** One visible piece of text, as the page's style engine sees it. */
interface TextSample {
  /** How to find it: tag, class and the first words. */
  readonly where: string;
  readonly color: string;
  /** Product of the opacity of the element and its ancestors. */
  readonly opacity: number;
  /** Sets of backgrounds, nearest first; several where a gradient gives several colours. */
  readonly backgrounds: readonly (readonly string[])[];
  readonly fontPx: number;
  readonly bold: boolean;
}

/**
 * Finds what makes the page wider than its window.
 *
 * @returns a line of text with the widths and the elements that stick out, or undefined if none
 *   does
 */
export async function findOverflow(page: Page): Promise<string | undefined> {
  const { scrollWidth, innerWidth, culprits } = await page.evaluate(collectOverflow);
  const names = culprits.length === 0 ? 'no single element' : culprits.join(', ');
  return scrollWidth <= innerWidth
    ? undefined
    : `page is ${scrollWidth} px wide in a window of ${innerWidth} px (${names})`;
}

/** Finds text whose contrast with its background is too low. One line each, the worst first. */
export async function findLowContrast(page: Page): Promise<string[]> {
  const samples = await page.evaluate(collectText);
  const names = [...new Set(samples.flatMap((s) => [s.color, ...s.backgrounds.flat()]))];
  const values = await page.evaluate(resolveColours, names);
  const colours = new Map(names.map((name, i) => [name, values[i]!]));
  return judgeContrast(samples, colours);
}

/** The judging part of findLowContrast(). */
function judgeContrast(
  samples: readonly TextSample[],
  colours: ReadonlyMap<string, Rgba>,
): string[] {
  const look = (name: string): Rgba => colours.get(name) ?? [0, 0, 0, 0];
  const bad = samples.flatMap((sample) => {
    const [red, green, blue, alpha] = look(sample.color);
    const text: Rgba = [red, green, blue, alpha * sample.opacity];
    const ratios = sample.backgrounds.map((layers) => contrastRatio(text, layers.map(look)));
    const ratio = Math.min(...ratios);
    const required = requiredRatio(sample.fontPx, sample.bold);
    // Colours come back from an 8-bit canvas, so a ratio is only good to about 0.02.
    return ratio >= required - 0.02 ? [] : [{ sample, ratio, required }];
  });
  return bad
    .toSorted((a, b) => a.ratio - b.ratio)
    .map(
      ({ sample, ratio, required }) =>
        `contrast ${ratio.toFixed(2)} < ${required}: ${sample.where}`,
    );
}

// ---------------------------------------------------------------------------------------- in the p

function collectOverflow(): { scrollWidth: number; innerWidth: number; culprits: string[] } {
  const { scrollWidth } = document.documentElement;
  const culprits: string[] = [];
  const clips = (element: Element): boolean => {
    for (
      let up = element.parentElement;
      up !== null && up !== document.body;
      up = up.parentElement
    ) {
      if (getComputedStyle(up).overflowX !== 'visible') {
        return true;
      }
    }
    return false;
  };
  for (const element of document.body.querySelectorAll('*')) {
    const { right, width } = element.getBoundingClientRect();
    if (width > 0 && right > innerWidth + 0.5 && culprits.length < 3 && !clips(element)) {
      const name = element.id === '' ? element.getAttribute('class') : `#${element.id}`;
      culprits.push(`<${element.localName} ${name ?? ''}> ends at ${Math.round(right)}`);
    }
  }
  return { scrollWidth, innerWidth, culprits };
}

function collectText(): TextSample[] {
  const samples: TextSample[] = [];
  // What a page without a background shows: white, or a dark grey under `color-scheme: dark`.
  const probe = document.documentElement.appendChild(document.createElement('div'));
  probe.style.backgroundColor = 'Canvas';
  const bottom = getComputedStyle(probe).backgroundColor;
  probe.remove();
  const textOf = (element: Element): string => {
    if (element instanceof HTMLInputElement || element instanceof HTMLTextAreaElement) {
      return ['checkbox', 'radio', 'range', 'color'].includes(element.type) ? '' : element.value;
    }
    const own = [...element.childNodes].filter((node) => node.nodeType === Node.TEXT_NODE);
    return own.map((node) => node.textContent ?? '').join(' ');
  };
  const layersOf = (element: Element): { layers: string[][]; opacity: number } => {
    let layers: string[][] = [[]];
    let opacity = 1;
    for (let up: Element | null = element; up !== null; up = up.parentElement) {
      const style = getComputedStyle(up);
      opacity *= Number(style.opacity);
      const stops = style.backgroundImage.match(/(?:rgba?|color|oklch|oklab|lab|hsla?)\([^()]*\)/g);
      const choices = stops === null ? [[]] : stops.map((stop) => [stop]);
      layers = layers
        .flatMap((layer) => choices.map((choice) => [...layer, ...choice, style.backgroundColor]))
        .slice(0, 16);
    }
    return { layers: layers.map((layer) => [...layer, bottom]), opacity };
  };
  for (const element of document.body.querySelectorAll('*')) {
    const text = textOf(element).replaceAll(/\s+/g, ' ').trim();
    const box = element.getBoundingClientRect();
    const style = getComputedStyle(element);
    const shown = element.checkVisibility({ opacityProperty: true, visibilityProperty: true });
    const idle = element.closest(':disabled, [aria-disabled="true"], [inert], option, noscript');
    if (text === '' || !shown || box.width <= 1 || box.height <= 1 || idle !== null) {
      continue;
    }
    const { layers, opacity } = layersOf(element);
    const names = element.getAttribute('class');
    const label = names === null ? '' : ` class="${names}"`;
    samples.push({
      where: `<${element.localName}${label}> ${text.slice(0, 40)}`,
      color: element instanceof SVGElement ? style.fill : style.color,
      opacity,
      backgrounds: layers,
      fontPx: Number.parseFloat(style.fontSize),
      bold: Number(style.fontWeight) >= 700,
    });
  }
  return samples;
}

/** Turns CSS colours of any notation into sRGB by painting them. */
function resolveColours(names: readonly string[]): [number, number, number, number][] {
  const canvas = document.createElement('canvas');
  canvas.width = canvas.height = 1;
  const context = canvas.getContext('2d', { willReadFrequently: true });
  return names.map((name) => {
    if (context === null) {
      throw new Error('no 2D canvas');
    }
    context.clearRect(0, 0, 1, 1);
    context.fillStyle = name;
    context.fillRect(0, 0, 1, 1);
    const [red = 0, green = 0, blue = 0, alpha = 0] = context.getImageData(0, 0, 1, 1).data;
    return [red, green, blue, alpha / 255];
  });
}
