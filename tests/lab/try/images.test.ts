import { image, RELEASES } from "../support/images";

test("images", async () => {
  const t0 = Date.now();
  const names = (process.env.NAMES ?? "").split(",") as any[];
  await Promise.all(
    names.map(async (n) => {
      const f = await image(n);
      console.error(n, f, (Date.now() - t0) / 1000);
    }),
  );
}, 900000);
