/** apppot targets check for a computing element: each way to be wrong is named by a real A-REX, in words. */
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import test, { type ExecutionContext } from 'ava';
import { loadTarget } from '../../src/config/targets.ts';
import { ArcBackend } from '../../src/grid/arc/backend.ts';
import type { CheckLine } from '../../src/grid/backend.ts';
import type { ArcSettings } from '../../src/grid/arc/settings.ts';
import { arcBackend, signal } from '../helpers/arc.ts';
import { gridLab, type GridLab } from '../helpers/grid.ts';
import { newFolder } from '../helpers/guest.ts';

const execute = promisify(execFile);

async function check(
  t: ExecutionContext,
  lab: GridLab,
  more: Partial<ArcSettings>,
): Promise<readonly CheckLine[]> {
  return arcBackend(t, lab, more).check({ signal });
}

test('a wrong port, path, name, queue, runtime environment or address is told apart, each with a hint', async (t) => {
  const lab = gridLab(t);
  if (lab === undefined) return;
  const { endpoint } = lab.arc;
  const silent = createServer((socket) => socket.end('220 no TLS here\r\n'));
  silent.listen(0, '127.0.0.1');
  await once(silent, 'listening');
  t.teardown(() => silent.close());
  const other = `https://localhost:${(silent.address() as AddressInfo).port}/arex`;
  const port = new URL(endpoint).port;
  const web = lab.web.url;
  const cases: readonly (readonly [Partial<ArcSettings>, string, RegExp, RegExp])[] = [
    [{ endpoint: 'https://localhost:1/arex' }, 'site', /nothing listens there/, /endpoint/],
    [{ endpoint: other }, 'site', /does not speak https/, /endpoint/],
    [{ endpoint: endpoint.replace('/arex', '/wrong') }, 'site', /no computing element at .*wrong/, /\/arex/],
    [{ endpoint: endpoint.replace('/arex', '') }, 'site', /no computing element at/, /\/arex/],
    [{ endpoint: `https://127.0.0.1:${port}/arex` }, 'site', /for another host \(DNS:localhost\)/, /name/],
    [{ endpoint: 'https://no.such.host.invalid/arex' }, 'site', /no host of this name|looked up/, /network/],
    [{ endpoint: endpoint.replace('https', 'http') }, 'endpoint', /is no endpoint/, /https URL/],
    [{ queue: 'nosuch' }, 'queue', /no queue "nosuch"/, new RegExp(`It has: ${lab.arc.queue}`)],
    [{ rte: 'ENV/NOSUCH' }, 'runtime', /no runtime environment ENV\/NOSUCH/, /It has/],
    [{ image: `${web}/none.img` }, 'image', /none\.img is answered with 404/, /targets stage/],
    [{ image: '/none.img' }, 'image', /There is no image \/none\.img/, /URL/],
    [{ runtime: `${web}/none` }, 'runtime', /none\/apppot-start is answered with 404/, /targets stage/],
    [{ baseUrl: 'http://localhost:1/x' }, 'base_url', /localhost:1: nothing listens/, /site has to reach/],
  ];
  for (const [more, title, detail, hint] of cases) {
    const lines = await check(t, lab, more).catch((error: unknown) => {
      const { message, hint: words } = error as { message: string; hint?: string };
      return [{ title: 'endpoint', ok: false, detail: message, hint: words ?? '' }];
    });
    const wrong = lines.filter(({ ok }) => !ok);
    t.deepEqual(
      wrong.map((line) => line.title),
      [title],
      `for ${JSON.stringify([more, lines])}`,
    );
    t.regex(wrong[0]?.detail ?? '', detail);
    t.regex(wrong[0]?.hint ?? '', hint);
  }
});

test('what is right is said to be so; the address of the interface itself will do', async (t) => {
  const lab = gridLab(t);
  if (lab === undefined) return;
  const name = `check-${process.pid}`;
  await mkdir(path.join(lab.web.root, name));
  await writeFile(path.join(lab.web.root, name, 'apppot-start'), '#!/bin/sh\n');
  const at = `${lab.web.url}/${name}`;
  const lines = await check(t, lab, {
    endpoint: `${lab.arc.endpoint}/rest/1.0/`,
    ...{ runtime: `${at}/`, image: `${at}/apppot-start`, baseUrl: at },
  });
  t.deepEqual(
    lines.map(({ title, ok }) => `${title} ${String(ok)}`),
    ['credentials', 'site', 'access', 'queue', 'runtime', 'image', 'base_url'].map((one) => `${one} true`),
  );
  t.regex(lines[0]?.detail ?? '', /certificate of \/DC=org\/.*, good for \d+ days/);
});

test('somebody whom the site does not map is told by name', async (t) => {
  const lab = gridLab(t);
  if (lab === undefined) return;
  const folder = await newFolder(t);
  const words = ['test-ca', '--ca-dir', lab.arc.caDir, '--ca-id', 'lab', 'usercert', '-n', 'Nobody Known'];
  await execute('arcctl', [...words, '-v', '5', '--no-auth'], { cwd: folder });
  const named = async (end: string): Promise<string> =>
    path.join(folder, (await readdir(folder)).find((file) => file.endsWith(end)) ?? '');
  const [certificate, key] = [await named('-cert.pem'), await named('-key.pem')];
  await execute('chmod', ['600', key]);
  const lines = await check(t, lab, { certificate, key });
  t.deepEqual(
    lines.map(({ title, ok }) => [title, ok]),
    [
      ['credentials', true],
      ['site', false],
    ],
  );
  t.regex(lines[1]?.detail ?? '', /does not let \/DC=org\/.*CN=Nobody Known in: 403/);
  t.regex(lines[1]?.hint ?? '', /certificate in .*Ask the site for access/);
});

test('an endpoint that is no https address is refused in the settings', async (t) => {
  const folder = await newFolder(t);
  await mkdir(path.join(folder, 'apppot'));
  await writeFile(path.join(folder, 'apppot', 'apppot.ini'), '[target ce]\ntype = arc\n');
  for (const endpoint of ['http://ce.example/arex', 'ce.example/arex', 'https://me@ce.example/arex'])
    t.throws(() => loadTarget('ce', { XDG_CONFIG_DIRS: folder, APPPOT_TARGET_CE_ENDPOINT: endpoint }), {
      code: 'config',
      message: /endpoint must be an https URL such as/,
    });
  t.throws(() => new ArcBackend({ name: 'ce', endpoint: 'http://ce.example/arex' }), { code: 'config' });
});
