/** Numbers for tests that try things at random, and can be run again as they were. */

/** Numbers from 0 up to 1, the same ones for the same seed (Mulberry32: small, good enough to mix pieces). */
export type Random = () => number;

/** The numbers of a seed. */
export function random(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** One of the items. */
export const pick = <T>(r: Random, items: readonly T[]): T => items[Math.floor(r() * items.length)] as T;

/** KEEPALIVE_SEED, which repeats a run, or another one each time. */
export const seedOfRun = (): number => Number(process.env.KEEPALIVE_SEED || Date.now() % 1_000_000);
