/*
 * A button that copies the page's address, which has all settings in it.
 */

import { AddressError } from './address.ts';

/**
 * @param button copies the address
 * @param write puts the settings into the address
 * @param say is told what became of it
 */
export function copiesAddress(
  button: HTMLElement,
  write: () => void,
  say: (text: string) => void,
): void {
  button.addEventListener('click', () => {
    try {
      write();
    } catch (error) {
      if (!(error instanceof AddressError)) throw error;
      return say(`${error.message} ${error.remedy}`);
    }
    // Browsers without a clipboard, or without permission, have an address bar.
    copy(location.href).then(
      () => say('Copied: whoever opens it sees these settings.'),
      () => say('The browser does not let this page copy: take it from the address bar.'),
    );
  });
}

async function copy(text: string): Promise<void> {
  await navigator.clipboard.writeText(text);
}
