import { fileURLToPath } from 'node:url';
import js from '@eslint/js';
import tseslint from 'typescript-eslint';
import node from 'eslint-plugin-n';
import ava from 'eslint-plugin-ava';

/** Layers of src/, lowest first; a layer may import from those before it (ARCHITECTURE.md). */
const LAYERS = ['process', 'config', 'runtime', 'machine', 'image', 'snapshot', 'job', 'grid', 'cli'];

/** One door to other programs: only src/process may start one. */
const processDoor = [
  { name: 'execa', message: 'Only src/process starts programs: use run() from src/process/run.ts.' },
  { name: 'node:child_process', message: 'Only src/process starts programs.' },
  { name: 'child_process', message: 'Only src/process starts programs.' },
];

function layerRule(layer) {
  const above = LAYERS.slice(LAYERS.indexOf(layer) + 1);
  return {
    files: [`src/${layer}/**/*.ts`],
    rules: {
      'no-restricted-imports': [
        'error',
        {
          paths: layer === 'process' ? [] : processDoor,
          patterns: above.map((name) => ({
            group: [`**/${name}/*`, `**/${name}/**`],
            message: `src/${layer} lies below src/${name} and may not import from it (ARCHITECTURE.md).`,
          })),
        },
      ],
    },
  };
}

const recommendedForAva = [ava.configs['recommended'] ?? ava.configs['flat/recommended']].flat()[0];

export default tseslint.config(
  { ignores: ['dist/', 'coverage/', 'node_modules/'] },
  js.configs.recommended,
  node.configs['flat/recommended'],
  {
    files: ['**/*.ts'],
    extends: [...tseslint.configs.strictTypeChecked],
    languageOptions: {
      parserOptions: { projectService: true, tsconfigRootDir: fileURLToPath(new URL('.', import.meta.url)) },
    },
    rules: {
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      // tsc resolves ./x.ts and package exports already; the rule knows neither.
      'n/no-missing-import': 'off',
      'n/no-unsupported-features/node-builtins': 'error',
    },
  },
  {
    files: ['src/**/*.ts'],
    rules: {
      'no-restricted-imports': ['error', { paths: processDoor }],
      'no-console': 'error',
      'no-restricted-properties': [
        'error',
        { object: 'process', property: 'stdout', message: 'Only src/cli/display.ts prints.' },
        { object: 'process', property: 'stderr', message: 'Only src/cli/display.ts prints.' },
      ],
      'n/no-process-exit': 'error',
    },
  },
  ...LAYERS.map(layerRule),
  {
    // The one place that prints and exits.
    files: ['src/cli/display.ts', 'src/cli/main.ts'],
    rules: { 'no-console': 'off', 'n/no-process-exit': 'off', 'no-restricted-properties': 'off' },
  },
  // package.json's bin names the compiled file, which the rule cannot know.
  { files: ['src/cli/main.ts'], rules: { 'n/hashbang': 'off' } },
  {
    files: ['test/**/*.ts'],
    // Not the plugin's whole configuration: it names a parser of its own, which does not know TypeScript.
    plugins: { ava },
    rules: {
      ...recommendedForAva.rules,
      'n/no-unpublished-import': 'off',
      'n/no-extraneous-import': 'off',
    },
  },
  {
    files: ['bench/**/*.ts', 'examples/*.mjs', 'test/**/*.{ts,mjs}', '*.js'],
    rules: { 'n/no-unpublished-import': 'off', 'no-console': 'off', 'n/no-process-exit': 'off' },
  },
  {
    files: ['**/*.{js,mjs}'],
    languageOptions: { globals: { process: 'readonly', console: 'readonly', performance: 'readonly' } },
  },
  { linterOptions: { reportUnusedDisableDirectives: 'error' } },
);
