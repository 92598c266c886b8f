// Devices that speak MLS through ts-mls, driven by tests/mls/peers. All devices of a test live in this one process.
import * as mls from "ts-mls"
import { createGroupInfo } from "ts-mls/createCommit.js"
import { encode } from "ts-mls/codec/tlsEncoder.js"
import { ratchetTreeEncoder } from "ts-mls/ratchetTree.js"
import { bytes, hex, serve } from "./lines.mjs"

const suite = await mls.getCiphersuiteImpl(
  mls.getCiphersuiteFromName("MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519"),
)
const capabilities = {
  versions: ["mls10"],
  ciphersuites: ["MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519"],
  extensions: [0xf5a1],
  proposals: [],
  credentials: ["basic"],
}
const devices = new Map()

function open(message, wireformat) {
  const decoded = mls.decodeMlsMessage(bytes(message), 0)?.[0]
  if (decoded === undefined) throw new Error("not an MLSMessage")
  if (wireformat && decoded.wireformat !== wireformat) throw new Error(`not a ${wireformat}`)
  return decoded
}

const seal = (wireformat, field, value) =>
  hex(mls.encodeMlsMessage({ version: "mls10", wireformat, [field]: value }))

async function facts({ state }) {
  const { epoch, treeHash } = state.groupContext
  const exported = await mls.mlsExporter(state.keySchedule.exporterSecret, "exporter", new Uint8Array(), 32, suite)
  return {
    exported: hex(exported),
    epoch: Number(epoch),
    epoch_authenticator: hex(state.keySchedule.epochAuthenticator),
    tree_hash: hex(treeHash),
    leaf: state.privatePath.leafIndex,
    active: state.groupActiveState.kind === "active",
  }
}

const secretsOf = (device) =>
  Object.fromEntries([...device.psks].map(([id, secret]) => [mls.bytesToBase64(bytes(id)), secret]))

function lifetime() {
  const now = BigInt(Math.floor(Date.now() / 1000))
  return { notBefore: now - 3600n, notAfter: now + 30n * 86400n }
}

async function packageOf(device) {
  const credential = { credentialType: "basic", identity: new TextEncoder().encode(device.name) }
  device.keys ??= await suite.signature.keygen()
  return mls.generateKeyPackageWithKey(
    credential, capabilities, lifetime(), [], device.keys, suite,
  )
}

/** ts-mls wants external_pub without the length that RFC 9420 12.4.3.2 puts before it; the signature covers it. */
function withBareExternalKey(groupInfo) {
  const extensions = [...groupInfo.extensions]
  extensions.find = (wanted) => {
    const found = Array.prototype.find.call(extensions, wanted)
    return found?.extensionType === "external_pub" ? { ...found, extensionData: found.extensionData.slice(1) } : found
  }
  return { ...groupInfo, extensions }
}

async function proposalOf(request) {
  switch (request.kind) {
    case "add":
      return { proposalType: "add", add: { keyPackage: open(request.key_package, "mls_key_package").keyPackage } }
    case "remove":
      return { proposalType: "remove", remove: { removed: request.leaf } }
    case "psk": {
      const preSharedKeyId = { psktype: "external", pskId: bytes(request.psk), pskNonce: suite.rng.randomBytes(32) }
      return { proposalType: "psk", psk: { preSharedKeyId } }
    }
    case "extensions": {
      const extensions = [{ extensionType: 0xf5a1, extensionData: bytes(request.data) }]
      return { proposalType: "group_context_extensions", groupContextExtensions: { extensions } }
    }
  }
}

await serve({
  device({ device }) {
    devices.set(device, { name: device, psks: new Map(), packages: new Map() })
  },
  forget() {
    devices.clear()
  },
  psk({ device, psk, secret }) {
    devices.get(device).psks.set(psk, bytes(secret))
  },
  async keypackage({ device }) {
    const own = devices.get(device)
    own.package = await packageOf(own)
    return { key_package: seal("mls_key_package", "keyPackage", own.package.publicPackage) }
  },
  async create({ device, group_id }) {
    const own = devices.get(device)
    const { publicPackage, privatePackage } = await packageOf(own)
    own.state = await mls.createGroup(bytes(group_id), publicPackage, privatePackage, [], suite)
    return facts(own)
  },
  async join({ device, welcome }) {
    const own = devices.get(device)
    const { publicPackage, privatePackage } = own.package
    const psks = mls.makePskIndex(undefined, secretsOf(own))
    own.state = await mls.joinGroup(open(welcome, "mls_welcome").welcome, publicPackage, privatePackage, psks, suite)
    return facts(own)
  },
  /** Continue this device's group: as its ReInit says, or as a branch. */
  async succeed({ device, key_packages, branch_id }) {
    const own = devices.get(device)
    const { publicPackage, privatePackage } = await packageOf(own)
    const others = key_packages.map((message) => open(message, "mls_key_package").keyPackage)
    const { reinit } = own.state.groupActiveState
    const made = branch_id
      ? await mls.branchGroup(own.state, publicPackage, privatePackage, others, bytes(branch_id), suite)
      : await mls.reinitCreateNewGroup(
          own.state, publicPackage, privatePackage, others, reinit.groupId, reinit.cipherSuite, reinit.extensions,
        )
    own.state = made.newState
    const tree = encode(ratchetTreeEncoder)(own.state.ratchetTree)
    return { ...(await facts(own)), welcome: seal("mls_welcome", "welcome", made.welcome), tree: hex(tree) }
  },
  async join_successor({ device, welcome }) {
    const own = devices.get(device)
    const { publicPackage, privatePackage } = own.package
    const psks = mls.makePskIndex(own.state, {})
    own.state = await mls.joinGroup(
      open(welcome, "mls_welcome").welcome, publicPackage, privatePackage, psks, suite, undefined, own.state,
    )
    return facts(own)
  },
  async group_info({ device }) {
    const { state } = devices.get(device)
    const pair = await suite.hpke.deriveKeyPair(state.keySchedule.externalSecret)
    const key = await suite.hpke.exportPublicKey(pair.publicKey)
    const extensions = [
      { extensionType: "external_pub", extensionData: new Uint8Array([key.length, ...key]) },
      { extensionType: "ratchet_tree", extensionData: encode(ratchetTreeEncoder)(state.ratchetTree) },
    ]
    const info = await createGroupInfo(state.groupContext, state.confirmationTag, state, extensions, suite)
    return { group_info: seal("mls_group_info", "groupInfo", info) }
  },
  async external_join({ device, group_info, resync }) {
    const own = devices.get(device)
    const { publicPackage, privatePackage } = await packageOf(own)
    const info = withBareExternalKey(open(group_info, "mls_group_info").groupInfo)
    const joined = await mls.joinGroupExternal(info, publicPackage, privatePackage, resync, suite)
    own.pending = joined.newState
    return { commit: seal("mls_public_message", "publicMessage", joined.publicMessage) }
  },
  async external_add({ device, group_info }) {
    const own = devices.get(device)
    own.package = await packageOf(own)
    const { publicPackage, privatePackage } = own.package
    const { groupContext } = open(group_info, "mls_group_info").groupInfo
    const message = await mls.proposeAddExternal(
      { groupContext }, publicPackage, privatePackage, suite,
    )
    return { proposal: hex(mls.encodeMlsMessage(message)) }
  },
  async propose({ device, public: isPublic, ...request }) {
    const own = devices.get(device)
    const made = await mls.createProposal(own.state, isPublic, await proposalOf(request), suite)
    own.state = made.newState
    return { proposal: hex(mls.encodeMlsMessage(made.message)), ...(await facts(own)) }
  },
  async commit({ device, proposals, public: isPublic }) {
    const own = devices.get(device)
    const extraProposals = await Promise.all(proposals.map(proposalOf))
    const pskIndex = mls.makePskIndex(own.state, secretsOf(own))
    const made = await mls.createCommit(
      { state: own.state, cipherSuite: suite, pskIndex },
      { wireAsPublicMessage: isPublic, extraProposals, ratchetTreeExtension: true },
    )
    own.pending = made.newState
    return {
      commit: hex(mls.encodeMlsMessage(made.commit)),
      welcome: made.welcome && seal("mls_welcome", "welcome", made.welcome),
    }
  },
  merge({ device }) {
    const own = devices.get(device)
    own.state = own.pending
    own.pending = undefined
    return facts(own)
  },
  async process({ device, message }) {
    const own = devices.get(device)
    const psks = mls.makePskIndex(own.state, secretsOf(own))
    // Not mls.processMessage: it forgets the pre-shared keys when the message is encrypted.
    const { publicMessage, privateMessage } = open(message)
    const seen = publicMessage
      ? await mls.processPublicMessage(own.state, publicMessage, psks, suite)
      : await mls.processPrivateMessage(own.state, privateMessage, psks, suite)
    own.state = seen.newState
    return { ...(await facts(own)), data: seen.kind === "applicationMessage" ? hex(seen.message) : null }
  },
  async send({ device, data }) {
    const own = devices.get(device)
    const sent = await mls.createApplicationMessage(own.state, bytes(data), suite)
    own.state = sent.newState
    return { message: seal("mls_private_message", "privateMessage", sent.privateMessage) }
  },
})
