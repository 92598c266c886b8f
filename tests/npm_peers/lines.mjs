// One request per line on standard input, one answer per line on standard output; bytes travel as hexadecimal.
import { createInterface } from "node:readline"

export const hex = (bytes) => Buffer.from(bytes).toString("hex")
export const bytes = (text) => new Uint8Array(Buffer.from(text, "hex"))

/** Answers {id, op, ...} with {id, ok: true, ...} or {id, ok: false, error}, one after the other. */
export async function serve(operations) {
  for await (const line of createInterface({ input: process.stdin })) {
    const { id, op, ...request } = JSON.parse(line)
    let answer
    try {
      answer = { id, ok: true, ...(await operations[op](request)) }
    } catch (error) {
      answer = { id, ok: false, error: `${error?.stack ?? error} ${JSON.stringify(error?.inner ?? null)}` }
    }
    process.stdout.write(JSON.stringify(answer) + "\n")
  }
  process.exit(0)
}
