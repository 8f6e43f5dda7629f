/*
 * A plain static host, as there are many: it serves a folder below a path of its own and sends no
 * isolation headers. Counts what was asked for.
 */
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { extname, join, normalize } from 'node:path';

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.svg': 'image/svg+xml',
  '.json': 'application/json',
};

export interface StaticHost {
  /** Where the site begins, with a slash at its end. */
  readonly url: string;
  /** How often each path below `url` was asked for. */
  readonly requests: ReadonlyMap<string, number>;
  close(): Promise<void>;
}

/**
 * Serves `folder`.
 *
 * @param path of the site on the host, "/" or "/webhmm/"
 * @param replaced bodies of files that are served instead of the folder's; null answers 404
 */
export async function startStaticHost(
  folder: string,
  path: string,
  replaced: Readonly<Record<string, string | null>> = {},
): Promise<StaticHost> {
  const requests = new Map<string, number>();
  const find = async (name: string): Promise<string | Buffer | null> => {
    const own = replaced[name];
    if (own !== undefined) return own;
    const file = join(folder, normalize(`/${name}`));
    return readFile(file).catch(() => null);
  };
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url ?? '/', 'http://host');
    const isInside = pathname.startsWith(path);
    const asked = isInside ? pathname.slice(path.length) : pathname;
    requests.set(asked, (requests.get(asked) ?? 0) + 1);
    const name = asked === '' || asked.endsWith('/') ? `${asked}index.html` : asked;
    void (isInside ? find(name) : Promise.resolve(null)).then((body) => {
      const type = TYPES[extname(name)] ?? 'application/octet-stream';
      response.writeHead(body === null ? 404 : 200, { 'Content-Type': type });
      response.end(body ?? 'not found');
    });
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}${path}`,
    requests,
    close: () =>
      new Promise((done) => {
        server.close(() => done());
        server.closeAllConnections();
      }),
  };
}
