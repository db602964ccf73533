/** Stories side by side: each does its steps in order on hosts of its own, and each step is a test of its own. */
import pLimit from "p-limit";

/** A story on what `start` makes. */
export interface Story<Scene> {
  readonly name: string;
  start(): Promise<Scene>;
  readonly steps: readonly { readonly name: string; run(scene: Scene): Promise<void> }[];
  /** Runs when all steps are over. */
  end?(scene: Scene): Promise<void>;
}

/** Longest that a test waits for its step, milliseconds: the stories before it count too. */
const PATIENCE = 40 * 60_000;

/**
 * Defines a `describe` for each story and a test for each step; call it inside a `describe`. A step is run also when
 * the one before it failed. At most `atOnce` stories are under way at a time: much of a story is waiting.
 */
export function defineStories<Scene>(stories: readonly Story<Scene>[], atOnce: number): void {
  const limit = pLimit(atOnce);
  const outcomes = new Map<string, Promise<void>>();
  const key = (story: string, step: string) => `${story}\n${step}`;

  beforeAll(() => {
    for (const story of stories) {
      const settle = new Map<string, (result: Promise<void>) => void>();
      for (const step of story.steps) {
        const outcome = new Promise<void>((resolve) => settle.set(step.name, resolve));
        // Its test tells of a failure; until that runs it is nobody's fault.
        outcome.catch(() => {});
        outcomes.set(key(story.name, step.name), outcome);
      }
      void limit(async () => {
        const scene = await story.start().then(
          (value) => ({ value }),
          (error: unknown) => ({ error }),
        );
        for (const step of story.steps) {
          const result = "error" in scene ? Promise.reject(scene.error) : step.run(scene.value);
          await result.catch(() => {});
          settle.get(step.name)?.(result);
        }
        if ("value" in scene) await story.end?.(scene.value);
      }).catch(() => {});
    }
  });

  for (const story of stories) {
    describe(story.name, () => {
      test.each(story.steps)("$name", (step) => outcomes.get(key(story.name, step.name)), PATIENCE);
    });
  }
}
