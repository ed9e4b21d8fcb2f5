import { ApppotError } from '../../errors.ts';
import { DRIVER_NAMES, type Driver, type DriverName } from './driver.ts';
import { rootstrapDriver } from './rootstrap.ts';
import { umlDriver, type BuildRuntime } from './uml.ts';
import { unshareDriver } from './unshare.ts';

/**
 * The driver to build with: the one that was asked for, else the first that this machine allows.
 *
 * @param asked undefined: choose
 * @param runtime finds kernel and helper for driver uml
 * @throws ApppotError `driver-unavailable` with the reason of every driver
 */
export async function chooseDriver(
  asked: DriverName | undefined,
  runtime: () => Promise<BuildRuntime | string>,
): Promise<Driver> {
  const drivers: Readonly<Record<DriverName, Driver>> = {
    unshare: unshareDriver,
    uml: umlDriver(runtime),
    rootstrap: rootstrapDriver,
  };
  const reasons: string[] = [];
  for (const name of asked === undefined ? DRIVER_NAMES : [asked]) {
    const reason = await drivers[name].reasonAgainst();
    if (reason === undefined) return drivers[name];
    reasons.push(`${name}: ${reason}`);
  }
  throw new ApppotError(
    'driver-unavailable',
    asked === undefined
      ? `No driver can build an image here.\n${reasons.join('\n')}`
      : `The driver ${asked} does not work here: ${reasons.join('').slice(asked.length + 2)}.`,
    {
      hint:
        asked === 'unshare'
          ? 'It needs user name spaces and a line in /etc/subuid and /etc/subgid; --driver uml needs neither.'
          : 'Driver uml works everywhere once "apppot runtime build" has been run.',
    },
  );
}
