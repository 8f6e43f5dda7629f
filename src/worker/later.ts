/** Work that lets everything that waits now go first, without the delay of a timer. */
import type { Deferral } from '../cpu/doorbell.ts';

export class Later implements Deferral {
  private readonly channel = new MessageChannel();
  private isDue = false;

  constructor(work: () => void) {
    this.channel.port1.onmessage = () => {
      this.isDue = false;
      work();
    };
  }

  request(): void {
    if (this.isDue) return;
    this.isDue = true;
    this.channel.port2.postMessage(null);
  }

  close(): void {
    this.channel.port1.close();
  }
}
