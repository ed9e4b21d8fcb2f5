/** What a driver is: a way to be root for the length of a build. */
import type { Module } from '../modules.ts';

/** The ways to build, in the order in which they are tried. */
export const DRIVER_NAMES = ['unshare', 'uml', 'rootstrap'] as const;
export type DriverName = (typeof DRIVER_NAMES)[number];

/** A prepared build, the same for every driver. Everything that modules need lies in `scratch`. */
export interface Plan {
  /** Private folder: lib/, modules/, scripts/, target/ (empty), apppot.deb. */
  readonly scratch: string;
  readonly modules: readonly Module[];
  /** The folder that the build was started in: $WORKDIR. */
  readonly workFolder: string;
  /** The file to make; its folder exists, it does not. */
  readonly image: string;
  readonly sizeMebibytes: number;
  /** Environment of all modules, beside their options. Paths of files to write are named by {@link Plan.paths}. */
  readonly environment: Readonly<Record<string, string>>;
  /** Variables whose value is a path that a module writes to. */
  readonly paths: Readonly<Record<string, string>>;
  readonly logFile: string;
  readonly statusFile: string;
  readonly signal: AbortSignal;
}

/** One way to build. Ends well when all modules did; a failed module is found in the status file. */
export interface Driver {
  readonly name: DriverName;
  /** Why this machine does not allow the driver; undefined when it works. Must not take longer than a second. */
  reasonAgainst(): Promise<string | undefined>;
  /** Runs all modules of a plan as root of its own world. Leaves no process and no mount. */
  build(plan: Plan): Promise<void>;
  /** Removes a scratch folder, whoever its files belong to. */
  remove(folder: string): Promise<void>;
}
