/** The contract of every backend, kept by a real A-REX with Slurm behind it. */
import { arcBackend } from '../helpers/arc.ts';
import { siteParts } from '../helpers/grid-client.ts';
import { gridLab } from '../helpers/grid.ts';
import { guestParts } from '../helpers/guest.ts';
import { contractTests } from './contract.ts';

contractTests('arc', async (t) => {
  const lab = gridLab(t);
  const parts = guestParts(t);
  if (lab === undefined || parts === undefined) return undefined;
  // The image lies at the site: it is larger than what travels with a job.
  const { image } = await siteParts(lab, parts);
  return { backend: arcBackend(t, lab), batch: true, extra: { image: `site:${image}` } };
});
