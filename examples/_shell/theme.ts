/*
 * Light and dark. The system's preference holds until the visitor presses the button; the choice is
 * remembered. Canvases listen with onThemeChange() and draw again.
 */
import { el } from './dom.ts';

const KEY = 'webhmm-theme';
const listeners = new Map<Element, () => void>();
const systemDark = matchMedia('(prefers-color-scheme: dark)');

/** The theme that is shown. */
export function currentTheme(): 'light' | 'dark' {
  const chosen = document.documentElement.dataset['theme'];
  if (chosen === 'light' || chosen === 'dark') return chosen;
  return systemDark.matches ? 'dark' : 'light';
}

/** Calls `listener` after each change of colours, as long as `element` is part of the page. */
export function onThemeChange(element: Element, listener: () => void): void {
  listeners.set(element, listener);
}

/** The value of a colour token, "--map-ram", as it is now. */
export function colour(token: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(token).trim();
}

/** The button that switches: a disc, half light and half dark. */
export function themeButton(): HTMLButtonElement {
  const disc = el('span', { class: 'half-disc', 'aria-hidden': 'true' });
  const button = el('button', { type: 'button', class: 'quiet', id: 'theme' }, disc);
  const label = (): void => {
    const words = `Switch to the ${currentTheme() === 'dark' ? 'light' : 'dark'} theme`;
    button.setAttribute('aria-label', words);
    button.title = words;
  };
  button.addEventListener('click', () => {
    const next = currentTheme() === 'dark' ? 'light' : 'dark';
    document.documentElement.dataset['theme'] = next;
    remember(next);
    announce();
  });
  systemDark.addEventListener('change', announce);
  onThemeChange(button, label);
  label();
  return button;
}

function announce(): void {
  for (const [element, listener] of listeners) {
    if (element.isConnected) listener();
    else listeners.delete(element);
  }
}

function remember(theme: string): void {
  try {
    localStorage.setItem(KEY, theme);
  } catch {
    // Storage is blocked: the choice lasts as long as the page.
  }
}
