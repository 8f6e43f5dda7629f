/*
 * Building and finding elements. Everything that a page shows goes through textContent, never
 * through HTML.
 */

type Attributes = Readonly<Record<string, string | number | boolean | undefined>>;
type Child = Node | string;

/**
 * Makes an element.
 *
 * @param attributes by their HTML names; `true` sets an empty one, `false` and `undefined` none
 */
export function el<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === false) continue;
    element.setAttribute(name, value === true ? '' : String(value));
  }
  element.append(...children);
  return element;
}

/** The element with that id. Throws when the page does not have it. */
export function byId(id: string): HTMLElement {
  return byIdAs(id, HTMLElement);
}

/** The element with that id, of that class: `byIdAs('pages', HTMLSelectElement)`. */
export function byIdAs<T extends HTMLElement>(id: string, type: new () => T): T {
  const element = document.getElementById(id);
  if (element instanceof type) return element;
  throw new Error(`the page has no ${type.name} #${id}`);
}

/**
 * Calls `listener` with an element's width, now and after each change. In a frame of its own:
 * what is drawn then may change the element's height, which a ResizeObserver takes for an error.
 */
export function onWidth(element: HTMLElement, listener: (width: number) => void): void {
  let last = 0;
  const observer = new ResizeObserver(() => {
    requestAnimationFrame(() => {
      const width = element.clientWidth;
      if (width === last || width === 0) return;
      last = width;
      listener(width);
    });
  });
  observer.observe(element);
}

/** A table row of data cells; the first is the row's header. */
export function row(head: Child, ...cells: readonly Child[]): HTMLTableRowElement {
  const data = cells.map((cell) => el('td', {}, cell));
  return el('tr', {}, el('th', { scope: 'row' }, head), ...data);
}
