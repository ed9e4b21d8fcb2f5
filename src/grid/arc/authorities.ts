/** Whom we trust to say who a site is. */
import { existsSync, readFileSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { rootCertificates } from 'node:tls';
import { ApppotError, systemCode } from '../../errors.ts';
import { certificatesOf } from './credentials.ts';

const GRID = '/etc/grid-security/certificates';
const SYSTEM = '/etc/ssl/certs/ca-certificates.crt';

/**
 * Certificates of authorities: of a folder as OpenSSL and IGTF have them (`HASH.0`, `NAME.pem`), or of one file.
 * Without a name: X509_CERT_DIR, or the grid's and the system's usual places together.
 *
 * @throws ApppotError `credentials` when there is none
 */
export function loadAuthorities(path = process.env['X509_CERT_DIR']): readonly string[] {
  const found =
    path === undefined || path === ''
      ? [...readPlace(GRID), ...readPlace(SYSTEM), ...rootCertificates]
      : readPlace(path);
  if (found.length > 0) return [...new Set(found)];
  throw new ApppotError('credentials', `There is no certificate of an authority in ${path ?? GRID}.`, {
    hint: 'ca_dir of the target names a folder such as /etc/grid-security/certificates, or a file of certificates.',
  });
}

function readPlace(path: string): readonly string[] {
  try {
    if (!existsSync(path)) return [];
    if (!statSync(path).isDirectory()) return certificatesOf(readFileSync(path, 'utf8'));
    const names = readdirSync(path).filter((name) => /\.(?:\d|pem|crt)$/.test(name));
    return names.flatMap((name) => certificatesOf(readOpen(join(path, name))));
  } catch (cause) {
    throw new ApppotError('credentials', `Cannot read ${path}: ${(cause as Error).message}.`, { cause });
  }
}

/** A file of a folder; nothing of one that is not for us, such as the key of an authority of one's own. */
function readOpen(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    if (['EACCES', 'EPERM'].includes(systemCode(error) ?? '')) return '';
    throw error;
  }
}
