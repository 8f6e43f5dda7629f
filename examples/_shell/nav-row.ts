/*
 * The row of links in the header, which scrolls where the window is too narrow for all of them:
 * marks at the edges that hide some, and the current link in view.
 */

/** Keeps `data-more` of the row: "before", "after", where links are out of sight. */
export function followScroll(row: HTMLElement): void {
  const mark = (): void => {
    // Fractions of a pixel are no link.
    const rest = row.scrollWidth - row.clientWidth - row.scrollLeft;
    const more = [row.scrollLeft > 1 ? 'before' : '', rest > 1 ? 'after' : ''];
    row.dataset['more'] = more.join(' ').trim();
  };
  row.addEventListener('scroll', mark, { passive: true });
  new ResizeObserver(mark).observe(row);
}

/**
 * Scrolls the row to the current link if a part of it is out of sight: as far as it must, and on to
 * the start of a link, so that the row never begins in the middle of a word.
 */
export function showCurrent(): void {
  const current = document.querySelector<HTMLElement>('.bar [aria-current]');
  const row = current?.parentElement;
  if (current === null || !row) return;
  const box = row.getBoundingClientRect();
  // The marks at the edges are as wide as the padding; the last link has none beside it.
  const { scrollPaddingLeft, scrollPaddingRight } = getComputedStyle(row);
  const edge = current === row.lastElementChild ? 0 : Number.parseFloat(scrollPaddingRight);
  const missing = current.getBoundingClientRect().right - (box.right - edge);
  if (missing <= 0 || row.scrollWidth <= row.clientWidth) return;
  const starts = [...row.children].map((link) => {
    return link.getBoundingClientRect().left - box.left - Number.parseFloat(scrollPaddingLeft);
  });
  const wanted = starts.find((start) => start >= missing) ?? missing;
  // The last links need room after them to begin at the row's start.
  const room = wanted - (row.scrollWidth - row.clientWidth);
  if (room > 0) row.style.paddingRight = `${room}px`;
  row.scrollLeft = wanted;
}
