/* For tests of the benchmark's page: a report that is opened during a run. */

/**
 * Starts a run, opens a report as soon as it copies, and tells what is seen when that is there; all
 * within the page, as the run might be over before somebody outside has looked.
 */
export function openWhileRunning(report: string) {
  const note = document.getElementById('note')!;
  const open = document.querySelector<HTMLInputElement>('#open')!;
  const given = new DataTransfer();
  given.items.add(new File([report], 'early.json', { type: 'application/json' }));
  const look = () => {
    const { value, max } = document.querySelector<HTMLProgressElement>('#bar')!;
    return {
      note: note.textContent,
      value,
      max,
      said: document.getElementById('files-note')!.textContent,
      showsPreset: document.querySelector('[data-needs=preset]')!.checkVisibility(),
      isLocked: document.querySelector<HTMLInputElement>('[data-run=A] input')!.disabled,
    };
  };
  let isGiven = false;
  return new Promise<ReturnType<typeof look>>((resolve) => {
    const watcher = new MutationObserver(() => {
      if (document.querySelector('[data-run=A]') !== null) {
        watcher.disconnect();
        resolve(look());
      } else if (!isGiven && /copy\//.test(note.textContent)) {
        isGiven = true;
        open.files = given.files;
        open.dispatchEvent(new Event('change'));
      }
    });
    watcher.observe(document.body, { childList: true, subtree: true, characterData: true });
    document.getElementById('start')!.click();
  });
}
