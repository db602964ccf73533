/** Reading and editing OpenSSH configuration: bytes ⇄ lines, Include and Match, effective values, edits. No I/O. */

export { DROP_IN_NAME, type EditInput, HEADER_COMMENT, planEdit, planUndo, type UndoInput } from "./edit";
export { differences, effective, significant } from "./effective";
export { PROBE_HOST, probeHosts, sampleHost } from "./patterns";
export { absolutePattern, includePatterns, readChain } from "./read";
export { candidateTree, type RewrittenCopy, rewriteForCopy } from "./tree";
export type * from "./types";
