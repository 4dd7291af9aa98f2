/** The contract suite against the server that `npm run contract` was given. */
import { inject } from 'vitest';
import { adapterContract } from '../contractSuite.ts';
import { fixtureOf } from './given.testing.ts';

const given = inject('given');

adapterContract(given.config.adapter, () => fixtureOf(given), given.waivers);
