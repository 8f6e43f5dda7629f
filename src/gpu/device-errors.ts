/* The errors that a device has reported: how many, and the last few messages. Source: our own. */

/** Messages that are kept. */
const KEPT = 16;

/** See the file header. */
export class DeviceErrors {
  /** Errors that no scope caught. */
  uncaptured = 0;
  /** The last few messages, newest last. */
  readonly messages: string[] = [];

  /** Hears the uncaptured errors of a device from now on. */
  watch(device: GPUDevice): void {
    device.addEventListener('uncapturederror', (event) => {
      this.uncaptured += 1;
      this.note(event.error.message);
    });
  }

  /** Keeps a message. */
  note(message: string): void {
    this.messages.push(message);
    if (this.messages.length > KEPT) this.messages.shift();
  }
}
