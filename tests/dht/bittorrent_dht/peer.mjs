// Nodes of bittorrent-dht (npm), driven by tests/dht/test_interop_npm.py. All nodes of a test live in this one process.
import { createPublicKey, verify } from "node:crypto"
import { once } from "node:events"
import DHT from "bittorrent-dht"
import { hex, serve } from "./lines.mjs"

const nodes = new Map()
const TIMEOUT_MS = 500

function verified(signature, message, publicKey) {
  const x = Buffer.from(publicKey).toString("base64url")
  const key = createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x }, format: "jwk" })
  return verify(null, message, key, signature)
}

/** Arguments of a query: strings are bytes in hexadecimal, numbers are numbers. */
const decoded = (fields) =>
  Object.fromEntries(
    Object.entries(fields).map(([name, value]) => [name, typeof value === "string" ? Buffer.from(value, "hex") : value]),
  )

const encoded = (fields) =>
  Object.fromEntries(
    Object.entries(fields)
      .filter(([, value]) => value !== undefined && value !== null)
      .map(([name, value]) => [name, typeof value === "number" ? value : hex(value)]),
  )

/** Their own errors are results here: `code` is KRPC's, or the name of a local one. */
const settled = (begin) =>
  new Promise((resolve) => begin((error, ...results) => resolve(error ? { code: error.code ?? error.message } : results)))

await serve({
  async start({ host, bootstrap }) {
    const dht = new DHT({ bootstrap: bootstrap ?? false, verify: verified, timeout: TIMEOUT_MS, host })
    dht.on("warning", () => {})
    const ready = once(dht, "ready")
    const listening = once(dht, "listening")
    dht.listen(0, host)
    await Promise.all([ready, listening])
    const node = hex(dht.nodeId)
    nodes.set(node, dht)
    return { node, port: dht.address().port }
  },

  async stop() {
    await Promise.all([...nodes.values()].map((dht) => new Promise((resolve) => dht.destroy(resolve))))
    nodes.clear()
    return {}
  },

  async put({ node, fields }) {
    const result = await settled((done) => nodes.get(node).put(decoded(fields), done))
    return result.code === undefined ? { target: hex(result[0]), stored: result[1] } : result
  },

  async get({ node, target, salt }) {
    const options = { cache: false, ...(salt ? { salt: Buffer.from(salt, "hex") } : {}) }
    const result = await settled((done) => nodes.get(node).get(Buffer.from(target, "hex"), options, done))
    return { found: result[0] ? encoded(result[0]) : null }
  },

  /** One query to one node, as it stands. */
  async query({ node, host, port, method, fields }) {
    const message = { q: method, a: decoded(fields) }
    const result = await settled((done) => nodes.get(node)._rpc.query({ host, port }, message, done))
    return result.code === undefined ? { values: encoded(result[0].r) } : result
  },

  /** Who is in its table. */
  async known({ node }) {
    return { nodes: nodes.get(node).nodes.toArray().map(({ id }) => hex(id)) }
  },
})
