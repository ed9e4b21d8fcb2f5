/** What a kernel and its helper can do, as far as a launch has to know. */
export interface Capabilities {
  /** User processes are steered without ptrace (`seccomp=on`). */
  readonly seccomp: boolean;
  /** There is a kernel that takes `ncpus=N`. */
  readonly smp: boolean;
  /** How a guest gets a network: a descriptor of the helper, the legacy slirp transport, or not at all. */
  readonly transport: 'vector' | 'slirp' | 'none';
  /** `hostfs=DIR` keeps the guest's root inside of DIR. */
  readonly confinedHostfs: boolean;
}

/** manifest.json in the folder of a built runtime. */
export interface Manifest {
  readonly format: 1;
  /** Digest of everything that went in; the folder's name. */
  readonly digest: string;
  /** Digest of our own part: patches, configuration, scripts, C files. */
  readonly inputs: string;
  /** Digest of what the kernels were made from; a later build with the same one takes them as they are. */
  readonly kernels?: string;
  /** Source packages or files, with version and SHA-256. */
  readonly sources: readonly Source[];
  readonly compiler: string;
  readonly kernelVersion: string;
  readonly capabilities: Capabilities;
  /** SHA-256 of each file of the runtime. */
  readonly files: Readonly<Record<string, string>>;
}

/** One source that a runtime was built from. */
export interface Source {
  readonly name: string;
  readonly version: string;
  readonly sha256: string;
}
