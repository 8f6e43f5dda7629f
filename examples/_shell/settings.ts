/*
 * Settings of a page, in its form and in its address: fields with names, ranges and defaults. What
 * an address asks for is checked and refused with words, as nobody sees what a form would make of
 * it; what has its default is left out of the address.
 */
import { AddressError } from './address.ts';

/** One of some names. */
interface ChoiceField<T extends string> {
  readonly kind: 'choice';
  readonly values: readonly T[];
  readonly initial: T;
}

/** Any of some names. */
interface ListField<T extends string> {
  readonly kind: 'list';
  readonly values: readonly T[];
  readonly initial: readonly T[];
}

/** A whole number; null, where that is its default, stands for an empty field. */
interface NumberField<T extends number | null> {
  readonly kind: 'number';
  readonly min: number;
  readonly max: number;
  readonly initial: T;
}

/** Anything that `check` does not throw at. */
interface TextField {
  readonly kind: 'text';
  readonly initial: string;
  readonly check?: (text: string) => void;
}

type Field =
  | ChoiceField<string>
  | ListField<string>
  | NumberField<number>
  | NumberField<null>
  | TextField;

/** Fields by name. */
export type Fields = Readonly<Record<string, Field>>;

/** Values of fields. */
export type Settings<F extends Fields> = {
  readonly [K in keyof F]: F[K] extends ChoiceField<infer T>
    ? T
    : F[K] extends ListField<infer T>
      ? readonly T[]
      : F[K] extends NumberField<number>
        ? number
        : F[K] extends NumberField<null>
          ? number | null
          : string;
};

type Value = string | number | null | readonly string[];

/** One of `values`. */
export function choice<T extends string>(values: readonly T[], initial: T): ChoiceField<T> {
  return { kind: 'choice', values, initial };
}

/** Any of `values`. */
export function list<T extends string>(values: readonly T[], initial: readonly T[]): ListField<T> {
  return { kind: 'list', values, initial };
}

/** A whole number; `initial` may be null, for an empty field. */
export function whole<T extends number | null>(
  initial: T,
  min: number,
  max: number,
): NumberField<T> {
  return { kind: 'number', min, max, initial };
}

/** Text; `check` throws an Error for people at what can't be. */
export function text(initial: string, check?: (text: string) => void): TextField {
  return { kind: 'text', initial, ...(check === undefined ? {} : { check }) };
}

/**
 * The settings in an address; what it does not name has its default.
 *
 * @throws AddressError for a value that can't be
 */
export function settingsFrom<F extends Fields>(fields: F, query: URLSearchParams): Settings<F> {
  const entries = Object.entries(fields).map(([name, field]) => {
    const given = query.get(name);
    return [name, given === null ? field.initial : parsed(name, field, given)];
  });
  return Object.fromEntries(entries) as Settings<F>;
}

/**
 * The settings in an address, as far as they can be: what can't has its default, and is named.
 */
export function leniently<F extends Fields>(
  fields: F,
  query: URLSearchParams,
): { readonly settings: Settings<F>; readonly problems: readonly AddressError[] } {
  const left = new URLSearchParams(query);
  const problems: AddressError[] = [];
  for (const [name, field] of Object.entries(fields)) {
    try {
      settingsFrom({ [name]: field }, query);
    } catch (error) {
      if (!(error instanceof AddressError)) throw error;
      problems.push(error);
      left.delete(name);
    }
  }
  return { settings: settingsFrom(fields, left), problems };
}

function parsed(name: string, field: Field, given: string): Value {
  switch (field.kind) {
    case 'choice':
      return known(name, field.values, given);
    case 'list':
      return given === '' ? [] : given.split(',').map((one) => known(name, field.values, one));
    case 'number': {
      if (given === '' && field.initial === null) return null;
      const number = Number(given);
      const { min, max } = field;
      if (/^\d+$/.test(given) && number >= min && number <= max) return number;
      const range = `Use a whole number from ${min} to ${max}.`;
      throw new AddressError(`'${given}' is no ${name}.`, range);
    }
    case 'text':
      try {
        field.check?.(given);
      } catch (error) {
        throw new AddressError(`${name}: ${(error as Error).message}.`, 'Leave it out.');
      }
      return given;
  }
}

function known(name: string, values: readonly string[], given: string): string {
  if (values.includes(given)) return given;
  throw new AddressError(`There is no ${name} '${given}'.`, `Use one of: ${values.join(', ')}.`);
}

/**
 * Refuses an address that names something else than these, or one of them twice: what is misspelt
 * would be left out without a word.
 *
 * @throws AddressError that names it
 */
export function refuseOthers(names: readonly string[], query: URLSearchParams): void {
  const given = [...query.keys()];
  const other = given.find((name) => !names.includes(name));
  if (other !== undefined) {
    throw new AddressError(`There is no setting '${other}'.`, `Use some of: ${names.join(', ')}.`);
  }
  const twice = given.find((name, at) => given.indexOf(name) !== at);
  if (twice === undefined) return;
  throw new AddressError(`The setting '${twice}' is there twice.`, 'Leave one of them out.');
}

/** The address's parameters of settings, without those that have their defaults. */
export function queryOf<F extends Fields>(fields: F, settings: Settings<F>): URLSearchParams {
  const query = new URLSearchParams();
  for (const [name, { initial }] of Object.entries(fields)) {
    const value = written(settings[name] as Value);
    if (value !== written(initial)) query.set(name, value);
  }
  return query;
}

function written(value: Value): string {
  if (value === null) return '';
  return typeof value === 'object' ? value.join() : String(value);
}

/** Puts settings into the controls of a form that have their names. */
export function fillForm<F extends Fields>(
  form: HTMLFormElement,
  fields: F,
  settings: Settings<F>,
): void {
  for (const name of Object.keys(fields)) {
    const value = settings[name] as Value;
    for (const control of form.querySelectorAll<HTMLInputElement>(`[name="${name}"]`)) {
      if (control.type === 'checkbox' || control.type === 'radio') {
        const chosen = Array.isArray(value) ? (value as string[]) : [written(value)];
        control.checked = chosen.includes(control.value);
      } else {
        control.value = written(value);
      }
    }
  }
}

/** Whether a form has controls of that name, all of them off. */
function isOff(form: HTMLFormElement, name: string): boolean {
  const controls = [...form.querySelectorAll<HTMLInputElement>(`[name="${name}"]`)];
  return controls.length > 0 && controls.every(({ disabled }) => disabled);
}

/**
 * Reads the controls of a form. Fields whose controls are off have their defaults.
 *
 * @throws AddressError for what the form's own checks should have refused
 */
export function readForm<F extends Fields>(form: HTMLFormElement, fields: F): Settings<F> {
  const data = new FormData(form);
  const query = new URLSearchParams();
  for (const [name, field] of Object.entries(fields)) {
    const given = data.getAll(name).map(String);
    // Numbers may be left empty: they have their defaults then.
    if (field.kind === 'number' && given.join() === '') continue;
    if (isOff(form, name)) continue;
    if (given.length > 0 || field.kind === 'list') query.set(name, given.join());
  }
  return settingsFrom(fields, query);
}

/** Writes settings into the address; parameters that are none of them stay. */
export function writeAddress<F extends Fields>(fields: F, settings: Settings<F>): void {
  const url = new URL(location.href);
  for (const name of Object.keys(fields)) url.searchParams.delete(name);
  for (const [name, value] of queryOf(fields, settings)) url.searchParams.set(name, value);
  history.replaceState(null, '', url);
}
