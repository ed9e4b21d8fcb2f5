/** What a target of type arc says; the settings' ArcTarget has this form. */
export interface ArcSettings extends CredentialSettings {
  readonly name: string;
  /** URL of the computing element, such as https://ce.example.org/arex. */
  readonly endpoint: string;
  readonly queue?: string | undefined;
  /** Folder of certificate authorities, or one file with all of them (PEM). */
  readonly caDir?: string | undefined;
  /** Runtime environment of the site that brings AppPot's runtime. */
  readonly rte?: string | undefined;
  /** URL of a folder with AppPot's programs, which the site fetches and keeps. */
  readonly runtime?: string | undefined;
  /** Image of jobs, and web space for more of them: for checks only. */
  readonly image?: string | undefined;
  readonly baseUrl?: string | undefined;
  /** Memory to ask for: the guest's, times factor (1.05), plus overhead (128 MiB). */
  readonly memoryFactor?: number | undefined;
  readonly memoryOverhead?: number | undefined;
  readonly parallel?: number | undefined;
}

/** Who we are: a certificate with its key, a proxy, or a bearer token; without any, where grid tools look for them. */
export interface CredentialSettings {
  readonly certificate?: string | undefined;
  readonly key?: string | undefined;
  readonly proxy?: string | undefined;
  readonly tokenFile?: string | undefined;
  readonly tokenEnv?: string | undefined;
}
