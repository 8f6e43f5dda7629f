/*
 * The Markdown files of docs/ and the project's README, each a chunk of its own that is loaded
 * when it is read.
 */

export interface SiteDocument {
  /** "architecture", as in the address. */
  readonly name: string;
  readonly title: string;
  readonly load: () => Promise<string>;
}

const files: Readonly<Record<string, () => Promise<unknown>>> = {
  ...import.meta.glob('../../README.md', { query: '?raw', import: 'default' }),
  ...import.meta.glob('../../docs/*.md', { query: '?raw', import: 'default' }),
};

/** All documents: the README, then the others by name. */
export function listDocuments(): readonly SiteDocument[] {
  const documents = Object.entries(files).map(([path, load]) => {
    const name = (/([^/]+)\.md$/.exec(path)?.[1] ?? path).toLowerCase();
    const words = name === 'readme' ? 'overview' : name.replaceAll('-', ' ');
    const title = words.slice(0, 1).toUpperCase() + words.slice(1);
    return { name, title, load: async () => String(await load()) };
  });
  // Not by file name, where `a-b.md` comes before `a.md`.
  const rank = ({ name }: SiteDocument): string => (name === 'readme' ? '' : name);
  return documents.toSorted((a, b) => (rank(a) < rank(b) ? -1 : 1));
}

/** The document of that name, whatever its case. */
export function findDocument(name: string): SiteDocument | undefined {
  return listDocuments().find((document) => document.name === name.toLowerCase());
}
