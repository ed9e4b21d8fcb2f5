/** What a session folder holds, from WebDAV's answer about it (RFC 4918). */
import { parseXml, XmlElement } from '@rgrove/parse-xml';
import { ApppotError } from '../../errors.ts';

export interface SessionEntry {
  readonly name: string;
  readonly isFolder: boolean;
  readonly size: number;
  /** Seconds since the epoch. */
  readonly mtime: number;
}

/**
 * Reads a multistatus of depth 1. The first response is the folder itself.
 *
 * @returns undefined when it is no folder
 * @throws ApppotError `transport` for what is no such answer, `target` for names that lead elsewhere
 */
export function parseListing(xml: string, host: string): readonly SessionEntry[] | undefined {
  let root: XmlElement | null;
  try {
    root = parseXml(xml).root;
  } catch (cause) {
    throw new ApppotError('transport', `${host} sends a list of files that cannot be read.`, { cause });
  }
  const [own, ...responses] = root === null ? [] : elements(root, 'response');
  if (own === undefined)
    throw new ApppotError('transport', `${host} sends something else than a list of files.`);
  if (first(own, 'collection') === undefined) return undefined;
  return responses.map((response) => entryOf(response, host));
}

function entryOf(response: XmlElement, host: string): SessionEntry {
  const name = first(response, 'displayname')?.text ?? '';
  if (name === '' || name === '.' || name === '..' || /[/\0]/.test(name))
    throw new ApppotError('target', `${host} lists a file with the name ${JSON.stringify(name)}.`, {
      hint: 'A sound server does not do that: ask its administrator. Nothing was fetched under that name.',
    });
  const size = Number(first(response, 'getcontentlength')?.text ?? '0');
  const time = Date.parse(first(response, 'getlastmodified')?.text ?? '');
  if (!Number.isSafeInteger(size) || size < 0)
    throw new ApppotError('transport', `${host} tells no sound size of ${name}.`);
  return {
    name,
    isFolder: first(response, 'collection') !== undefined,
    size,
    mtime: Number.isNaN(time) ? 0 : Math.floor(time / 1000),
  };
}

/** Elements by their name without namespace prefix. */
function elements(parent: XmlElement, name: string): readonly XmlElement[] {
  return parent.children.filter(
    (child): child is XmlElement => child instanceof XmlElement && child.name.replace(/^.*:/, '') === name,
  );
}

/** The first element of this name below another one, however deep. */
function first(parent: XmlElement, name: string): XmlElement | undefined {
  for (const child of parent.children) {
    if (!(child instanceof XmlElement)) continue;
    if (child.name.replace(/^.*:/, '') === name) return child;
    const found = first(child, name);
    if (found !== undefined) return found;
  }
  return undefined;
}
