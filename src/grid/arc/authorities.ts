/** Whom we trust to say who a site is. */
import { X509Certificate } from 'node:crypto';
import { readFileSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { rootCertificates } from 'node:tls';
import { ApppotError, systemCode } from '../../errors.ts';
import { whyUnreadable } from './credentials.ts';
import { certificatesOf } from './key-pair.ts';

const GRID = '/etc/grid-security/certificates';
const SYSTEM = '/etc/ssl/certs/ca-certificates.crt';

/**
 * Certificates of authorities: of a folder as OpenSSL and IGTF have them (`HASH.0`, `NAME.pem`), or of one file. Files
 * that nobody can use (of others, damaged, links that lead nowhere) are left out; lists of revoked certificates are not
 * looked at.
 * Without a name: X509_CERT_DIR, or the grid's and the system's usual places together.
 *
 * @throws ApppotError `credentials` when there is none
 */
export function loadAuthorities(path = process.env['X509_CERT_DIR']): readonly string[] {
  if (path === undefined || path === '') {
    const usual = [GRID, SYSTEM].flatMap((place) => {
      try {
        return readPlace(place);
      } catch {
        return [];
      }
    });
    return [...new Set([...usual, ...rootCertificates])];
  }
  let found: readonly string[];
  try {
    found = readPlace(path);
  } catch (cause) {
    throw new ApppotError(
      'credentials',
      `Cannot read the certificates of authorities in ${path}: ${whyUnreadable(cause)}.`,
      { cause, hint: HINT },
    );
  }
  if (found.length > 0) return found;
  throw new ApppotError('credentials', `There is no certificate of an authority in ${path}.`, { hint: HINT });
}

const HINT =
  'ca_dir of the target (or X509_CERT_DIR) names a folder such as /etc/grid-security/certificates, or a file of certificates (PEM).';

function readPlace(path: string): readonly string[] {
  const isFolder = statSync(path).isDirectory();
  const texts = isFolder
    ? readdirSync(path)
        .filter((name) => /\.(?:\d|pem|crt)$/.test(name))
        .map((name) => readOpen(join(path, name)))
    : [readFileSync(path, 'utf8')];
  // The same ones under several names; one that is damaged would make OpenSSL refuse all of them.
  return [...new Set(texts.flatMap(certificatesOf))].filter(isSound);
}

function isSound(pem: string): boolean {
  try {
    return new X509Certificate(pem).validTo !== '';
  } catch {
    return false;
  }
}

/** A file of a folder; nothing of one that cannot be read, such as the key of an authority of one's own. */
function readOpen(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    if (['EACCES', 'EPERM', 'ENOENT', 'EISDIR', 'ELOOP'].includes(systemCode(error) ?? '')) return '';
    throw error;
  }
}
