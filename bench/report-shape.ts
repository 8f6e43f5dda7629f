/**
 * What a report that was read has to consist of, so that whoever shows or compares it finds what
 * `types.ts` promises. Fields that only newer versions write may be missing, and what is not known
 * here may be there; a field of another kind is named. JSON writes numbers that are none as null,
 * so a figure may be null.
 */

/** Null for a value that is as it should be; else the path to what is not, '' for itself. */
type Shape = (value: unknown) => string | null;

const simple =
  (is: (value: unknown) => boolean): Shape =>
  (value) =>
    is(value) ? null : '';

const text = simple((value) => typeof value === 'string');
const flag = simple((value) => typeof value === 'boolean');
const number = simple((value) => typeof value === 'number');
const orNull =
  (shape: Shape): Shape =>
  (value) =>
    value === null ? null : shape(value);
const figure = orNull(number);
const optional =
  (shape: Shape): Shape =>
  (value) =>
    value === undefined ? null : shape(value);

function listOf(shape: Shape, length?: number): Shape {
  return (value) => {
    if (!Array.isArray(value) || (length !== undefined && value.length !== length)) return '';
    for (const [at, one] of value.entries()) {
      const wrong = shape(one);
      if (wrong !== null) return `[${at}]${wrong}`;
    }
    return null;
  };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function mapOf(shape: Shape): Shape {
  return (value) => {
    if (!isObject(value)) return '';
    for (const [name, one] of Object.entries(value)) {
      const wrong = shape(one);
      if (wrong !== null) return `.${name}${wrong}`;
    }
    return null;
  };
}

function object(fields: Readonly<Record<string, Shape>>): Shape {
  return (value) => {
    if (!isObject(value)) return '';
    for (const [name, shape] of Object.entries(fields)) {
      const wrong = shape(Object.hasOwn(value, name) ? value[name] : undefined);
      if (wrong !== null) return `.${name}${wrong}`;
    }
    return null;
  };
}

const interval = listOf(figure, 2);
const param = simple((value) => ['string', 'number', 'boolean'].includes(typeof value));

const cell = object({
  suite: text,
  id: text,
  params: mapOf(param),
  samples: listOf(figure),
  unit: text,
  verified: flag,
  failure: optional(text),
  unchecked: optional(flag),
  dropped: number,
  chained: number,
  median: figure,
  p50: figure,
  p90: figure,
  p99: figure,
  min: figure,
  max: figure,
  ci: interval,
  cv: figure,
  bytes: number,
  gbPerSecond: figure,
  usPerPage: figure,
  phases: optional(mapOf(figure)),
  gpuUs: optional(figure),
  counts: optional(mapOf(figure)),
});

const beyond = optional(object({ value: figure, ci: interval }));
const limit = optional(object({ what: text, value: figure, samples: listOf(figure), beyond }));

const part = object({
  what: text,
  value: figure,
  ci: interval,
  comparison: text,
  target: figure,
  holds: flag,
  limit,
});

const goal = object({
  id: text,
  title: text,
  what: text,
  value: figure,
  ci: orNull(interval),
  comparison: orNull(text),
  target: figure,
  holds: orNull(flag),
  parts: listOf(part),
  limit,
  why: optional(text),
});

const adapter = object({
  vendor: text,
  architecture: text,
  device: text,
  description: text,
  isSoftware: flag,
  limits: mapOf(figure),
  features: listOf(text),
});

const settings = optional(
  object({ fragments: text, ringDepth: number, channels: number, verify: text }),
);

const environment = object({
  engine: text,
  adapter,
  isSoftware: flag,
  browser: text,
  version: text,
  userAgent: text,
  crossOriginIsolated: flag,
  cores: number,
  clockTickUs: number,
  timestampTickNs: figure,
  devShm: orNull(text),
  node: orNull(text),
  seed: number,
  quick: flag,
  suites: listOf(text),
  goals: optional(listOf(text)),
  soakMinutes: optional(number),
  settings,
  startedAt: text,
  hidden: flag,
  deviceLost: optional(text),
});

const row = object({ label: text, values: listOf(figure) });

const preset = object({
  preset: text,
  title: text,
  source: text,
  unit: text,
  columns: listOf(text),
  published: listOf(row),
  measured: listOf(row),
  notes: listOf(text),
});

const report = object({
  commit: orNull(text),
  env: environment,
  wallSeconds: number,
  cells: listOf(cell),
  omitted: listOf(object({ id: text, why: text })),
  goals: listOf(goal),
  presets: optional(listOf(preset)),
});

/** The first field that is missing or of another kind, as "cells[3].ci"; null when none is. */
export function wrongField(value: unknown): string | null {
  const wrong = report(value);
  return wrong === null ? null : wrong.replace(/^\./, '');
}
