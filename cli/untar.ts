/*
 * Reads tar archives that fit in memory.
 *
 * The bundled Chromium package ships its libraries and fonts as three small ustar archives. Reading
 * them takes one page of code, so there is no dependency for it. Only regular files and folders are
 * accepted: a link, an absolute path or a `..` in an archive is an error, never something to skip
 * in silence.
 *
 * Our own code; layout from POSIX pax(1), "ustar Interchange Format".
 */

const BLOCK_BYTES = 512;

export interface TarEntry {
  /** Path inside the archive, with forward slashes and no leading `./`. */
  readonly path: string;
  readonly kind: 'file' | 'folder';
  /** Permission bits, 0o000 to 0o777. */
  readonly mode: number;
  readonly bytes: Uint8Array;
}

/**
 * Lists the entries of a tar archive, in order.
 *
 * @param archive the whole uncompressed archive
 * @returns the entries; `bytes` are views of `archive`, not copies
 * @throws Error where the archive is cut short, damaged, or holds anything but files and folders
 */
export function readTar(archive: Uint8Array): TarEntry[] {
  const entries: TarEntry[] = [];
  let at = 0;
  while (at + BLOCK_BYTES <= archive.length) {
    const header = archive.subarray(at, at + BLOCK_BYTES);
    if (header.every((byte) => byte === 0)) {
      return entries;
    }
    checkSum(header, at);
    const sizeBytes = octal(header, 124, 12);
    const start = at + BLOCK_BYTES;
    if (start + sizeBytes > archive.length) {
      throw new Error(`tar: the entry at byte ${at} is cut short`);
    }
    const kind = entryKind(header, at);
    entries.push({
      path: entryPath(header),
      kind,
      mode: octal(header, 100, 8) & 0o777,
      bytes: archive.subarray(start, start + sizeBytes),
    });
    at = start + Math.ceil(sizeBytes / BLOCK_BYTES) * BLOCK_BYTES;
  }
  throw new Error('tar: the archive has no end mark; it is cut short');
}

function entryKind(header: Uint8Array, at: number): 'file' | 'folder' {
  const flag = String.fromCharCode(header[156]!);
  if (flag === '0' || flag === '\0') {
    return 'file';
  }
  if (flag === '5') {
    return 'folder';
  }
  throw new Error(
    `tar: the entry at byte ${at} has type '${flag}'; only files and folders are read`,
  );
}

function entryPath(header: Uint8Array): string {
  const prefix = text(header, 345, 155);
  const name = text(header, 0, 100);
  const path = (prefix === '' ? name : `${prefix}/${name}`).replace(/^\.\//, '').replace(/\/$/, '');
  if (path.startsWith('/') || path.split('/').includes('..')) {
    throw new Error(`tar: '${path}' leads out of the folder`);
  }
  return path;
}

/**
 * The header's sum counts its own field as blanks; it is what tells a damaged block from a good
 * one.
 */
function checkSum(header: Uint8Array, at: number): void {
  let sum = 0;
  for (let i = 0; i < BLOCK_BYTES; i++) {
    sum += i >= 148 && i < 156 ? 32 : header[i]!;
  }
  if (sum !== octal(header, 148, 8)) {
    throw new Error(`tar: the header at byte ${at} is damaged`);
  }
}

function octal(header: Uint8Array, offset: number, length: number): number {
  const digits = text(header, offset, length).trim();
  if (!/^[0-7]*$/.test(digits)) {
    throw new Error(`tar: '${digits}' is not an octal number`);
  }
  return digits === '' ? 0 : Number.parseInt(digits, 8);
}

function text(header: Uint8Array, offset: number, length: number): string {
  let end = offset;
  while (end < offset + length && header[end] !== 0) {
    end++;
  }
  return Buffer.from(header.subarray(offset, end)).toString('utf8');
}
