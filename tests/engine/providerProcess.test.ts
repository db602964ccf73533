/** The provider's process over gRPC, without an engine: what goes over the wire in each step of a resource's life. */
import { makeProject } from "../support/engine";
import { type LightHost, startFleet } from "../support/lightHost";
import { configOf, entries, isManaged } from "../support/program";
import { type Bag, type ProviderProcess, type Reply, startProviderProcess } from "../support/providerProcess";
import { makeTempFolder } from "../support/tempFolder";

const folder = makeTempFolder();
let hosts: readonly LightHost[];
let provider: ProviderProcess;
beforeAll(async () => {
  ({ hosts } = await startFleet(2, { folder, name: (i) => ["up", "down"][i] ?? "" }));
  provider = await startProviderProcess(
    await makeProject({ folder, program: "", env: { XDG_RUNTIME_DIR: undefined } }),
  );
});
afterAll(async () => {
  await provider.stop();
  await folder.remove();
});

function answered(reply: Reply): Bag {
  if (reply.kind === "error") throw new Error(reply.message);
  return reply.answer;
}

test("the stored provider object holds no code of ours and no secret", () => {
  expect(provider.source.length).toBeLessThan(2000);
  expect(provider.source).toContain('require("pulumi-ssh-keepalive/dynamic")');
});

test("check, diff, create, read, update and delete", async () => {
  const [up, down] = hosts as [LightHost, LightHost];
  const before = hosts.map(configOf);
  const { privateKey, ...reach } = up.connection;
  const args: Bag = {
    // A key for all and one at a host: each is to come back at its own path, and nowhere else.
    hosts: { up: { ...reach }, down: entries([down]).down },
    connection: { privateKey },
    server: { clientAliveInterval: "1m" },
  };

  const dry = answered(await provider.check({}, { ...args, dry: true }));
  expect(dry.failures).toEqual([]);
  expect(dry.inputs).toEqual({
    ...args,
    pendingChanges: { up: [expect.any(String), expect.any(String)], down: [expect.any(String), expect.any(String)] },
    __provider: provider.source,
  });
  // For real nothing computed is among the inputs, which are what the state stores.
  const checked = answered(await provider.check({}, { ...args, dry: false }));
  expect(checked.inputs).toEqual({ ...args, __provider: provider.source });

  await down.stop();
  const created = await provider.create({ ...args });
  if (created.kind !== "error" || created.partial === undefined) throw new Error("expected a partial failure");
  expect(created.message).toContain("not all hosts are as wanted");
  expect(created.partial).toEqual({
    id: expect.stringMatching(/^ssh-keepalive-[0-9a-f]{16}$/),
    properties: {
      ...args,
      observed: {
        up: expect.objectContaining({ status: "inSync" }),
        down: { status: "unreachable", reason: expect.stringContaining("[unreachable] connect: ") },
      },
      __provider: provider.source,
    },
    reasons: [expect.stringMatching(/^down: \[unreachable\] connect: /)],
  });
  const { id, properties: state } = created.partial;
  expect(JSON.stringify(state).split(JSON.stringify(privateKey))).toHaveLength(3);

  // What the engine hands to diff are old outputs and new inputs.
  expect(answered(await provider.diff(id, state, args))).toMatchObject({ changes: "some", deleteBeforeReplace: true });
  const pending = { ...args, pendingChanges: { down: ["…"] } };
  expect(answered(await provider.diff(id, state, pending))).toMatchObject({ changes: "unknown" });
  await down.start();
  const { properties: updated } = answered(await provider.update(id, state, args)) as { properties: Bag };
  expect(updated.observed).toEqual({
    up: (state.observed as Bag).up,
    down: expect.objectContaining({ status: "inSync" }),
  });
  expect(answered(await provider.diff(id, updated, args))).toMatchObject({ changes: "none" });
  expect(answered(await provider.read(id, updated))).toMatchObject({ id, properties: updated });

  await up.write("sshd_config.d/00-theirs.conf", "ClientAliveInterval 5\n");
  const drifted = answered(await provider.read(id, updated)) as { properties: Bag; inputs?: Bag };
  expect(drifted.inputs).toBeUndefined();
  expect(drifted.properties.observed).toMatchObject({ up: { status: "drifted" }, down: { status: "inSync" } });
  await up.write("sshd_config.d/00-theirs.conf", "");

  await down.stop();
  const failed = await provider.remove(id, updated);
  expect(failed).toMatchObject({
    kind: "error",
    message: expect.stringMatching(/1 of 2 hosts.*down: \[unreachable\]/),
  });
  expect([isManaged(up), isManaged(down)]).toEqual([false, true]);
  await down.start();
  expect(await provider.remove(id, updated)).toMatchObject({ kind: "answer" });
  expect(hosts.map(isManaged)).toEqual([false, false]);
  expect(configOf(down)).toEqual(before[1]);
  expect(provider.printed()).not.toContain(privateKey.split("\n")[2]);
});
