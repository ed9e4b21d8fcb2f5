import test from 'ava';
import { throughGateway } from '../../src/image/drivers/uml.ts';

test('a proxy on the loopback of this machine is reached through the gateway of the guest', (t) => {
  const before = {
    http_proxy: 'http://127.0.0.1:3128',
    https_proxy: 'http://me:pw@localhost:1/',
    no_proxy: 'localhost',
  };
  t.deepEqual(throughGateway(before), {
    environment: {
      http_proxy: 'http://10.0.2.2:3128',
      https_proxy: 'http://me:pw@10.0.2.2:1/',
      no_proxy: 'localhost',
    },
    usesLoopback: true,
  });
});

test('a proxy elsewhere stays as it is, and the loopback closed', (t) => {
  const before = { http_proxy: 'http://localhost.example:3128', dist: 'trixie' };
  t.deepEqual(throughGateway(before), { environment: before, usesLoopback: false });
});
