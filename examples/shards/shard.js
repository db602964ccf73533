/** Which hosts of one inventory are whose: read by the program and by its runner. */
const { createHash } = require("node:crypto");
const { readFileSync } = require("node:fs");

/** @typedef {Record<string, import("pulumi-ssh-keepalive").HostArgs>} Hosts */

/**
 * The part, from 0 to `shards` - 1, that a host belongs to: the one that scores highest for its name (rendezvous
 * hashing). Another count moves a host only to a part that comes or from a part that goes, never between two that stay:
 * a re-shard can then be put into an order, and moves no more hosts than it must.
 * @param {string} name
 * @param {number} shards
 * @returns {number}
 */
function shardOf(name, shards) {
  let best = { shard: 0, score: "" };
  for (let shard = 0; shard < shards; shard++) {
    const score = createHash("sha256").update(`${shard} ${name}`).digest("hex");
    if (score > best.score) best = { shard, score };
  }
  return best.shard;
}

/**
 * The inventory as it stands in the file.
 * @param {string} file
 * @returns {Hosts}
 */
function readInventory(file) {
  return JSON.parse(readFileSync(file, "utf8"));
}

/**
 * The hosts of one part.
 * @param {Hosts} inventory
 * @param {number} shard
 * @param {number} shards
 * @returns {Hosts}
 */
function hostsOf(inventory, shard, shards) {
  return Object.fromEntries(Object.entries(inventory).filter(([name]) => shardOf(name, shards) === shard));
}

module.exports = { shardOf, readInventory, hostsOf };
