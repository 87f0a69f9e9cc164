/**
 * A process with mail servers: in clear text, with STARTTLS, and with TLS from the beginning. What they do with a mail is said
 * by its recipients; `fails` is what a server of another kind does with every connection.
 */

import type { AddressInfo } from "node:net"
import { createServer, type Socket } from "node:net"
import { SMTPServer, type SMTPServerSession } from "smtp-server"
import { serve } from "./serverChild.ts"

export interface Mail {
  readonly from: string
  readonly to: ReadonlyArray<string>
  readonly user: string | undefined
  readonly encrypted: boolean
  readonly raw: string
}

export interface Ports {
  readonly plain: number
  readonly starttls: number
  readonly tls: number
  /** Speaks what it is told. */
  readonly raw: number
}

export type Message =
  | "ports"
  | "mails"
  | "sessions"
  | "reset"
  /** Waits until a mail to `hang@` is being held. */
  | "held"
  /** Waits until the connection of a mail to `hang@` has gone. */
  | "gone"
  /** What the raw server says to a connection, and to each line that it is sent; `null` closes it. */
  | { readonly lines: ReadonlyArray<string | null> }
export type Reply = Ports | ReadonlyArray<Mail> | number | null

export const account = { username: "assistant", password: "correct horse battery staple" }

const mails: Array<Mail> = []
let sessions = 0
let lines: ReadonlyArray<string | null> = []
const seen = new Map<string, number>()
const waiting = { held: [] as Array<() => void>, gone: [] as Array<() => void>, isHeld: false, isGone: false }

const announce = (what: "held" | "gone") => {
  if (what === "held") waiting.isHeld = true
  else waiting.isGone = true
  for (const resolve of waiting[what].splice(0)) resolve()
}

const reply = (code: number, text: string) => Object.assign(new Error(text), { responseCode: code })

const server = (options: ConstructorParameters<typeof SMTPServer>[0]): SMTPServer => {
  const smtp: SMTPServer = new SMTPServer({
    name: "loopback.test",
    disableReverseLookup: true,
    authMethods: ["PLAIN", "LOGIN"],
    size: 200_000,
    logger: false,
    ...options,
    onConnect(_session, done) {
      sessions++
      done()
    },
    onAuth({ password, username }, _session, done) {
      if (username === "busy") return done(reply(454, "4.7.0 Temporary authentication failure"))
      if (username !== account.username || password !== account.password) {
        return done(reply(535, `5.7.8 Authentication failed for ${username}`))
      }
      done(null, { user: username })
    },
    onMailFrom({ address }, _session, done) {
      if (address.startsWith("stranger@"))
        return done(reply(553, "5.7.1 Sender address rejected: not owned by user"))
      done()
    },
    onRcptTo({ address }, session, done) {
      const [name = ""] = address.split("@")
      const times = (seen.get(name) ?? 0) + 1
      seen.set(name, times)
      if (name === "unknown") return done(reply(550, "5.1.1 No such user here\u0007"))
      if (name === "busy") return done(reply(451, "4.3.0 Try again later"))
      if (name === "busyonce" && times === 1) return done(reply(450, "4.2.0 Greylisted"))
      if (name === "cutonce" && times === 1) return cut(session)
      done()
    },
    onData(stream, session, done) {
      const to = session.envelope.rcptTo.map(({ address }) => address)
      const names = to.map((address) => address.split("@")[0])
      const chunks: Array<Buffer> = []
      stream.on("data", (chunk: Buffer) => chunks.push(chunk))
      if (names.includes("cutmiddle")) stream.once("data", () => cut(session))
      stream.on("close", () => {
        if (names.includes("cutmiddle")) announce("gone")
      })
      stream.on("end", () => {
        if (names.includes("cutmiddle")) return
        if (names.includes("spam")) return done(reply(554, "5.7.1 Message rejected as spam"))
        if (names.includes("full")) return done(reply(452, "4.3.1 Insufficient system storage"))
        if (names.includes("huge")) return done(reply(552, "5.3.4 Message too big"))
        if (stream.sizeExceeded) return done(reply(552, "5.3.4 Message too big"))
        const { mailFrom } = session.envelope
        mails.push({
          from: mailFrom === false ? "" : mailFrom.address,
          to,
          user: session.user,
          encrypted: session.secure,
          raw: Buffer.concat(chunks).toString("latin1")
        })
        if (names.includes("cutafter") && seen.get("cutafter") === 1) return cut(session)
        if (names.includes("hang")) return announce("held")
        done()
      })
    },
    onClose(session) {
      if (session.envelope.rcptTo.some(({ address }) => address.startsWith("hang@"))) announce("gone")
    }
  })
  smtp.on("error", () => {})
  const cut = (session: SMTPServerSession) => {
    for (const connection of smtp.connections as Set<{ session: SMTPServerSession; _socket: Socket }>) {
      if (connection.session.id === session.id) connection._socket.destroy()
    }
  }
  return smtp
}

const listen = (smtp: SMTPServer): Promise<number> =>
  new Promise((resolve) => {
    smtp.listen(0, "127.0.0.1", () => resolve((smtp.server.address() as AddressInfo).port))
  })

const raw = createServer((socket) => {
  sessions++
  const script = [...lines]
  const next = () => {
    const line = script.shift()
    if (line === null) socket.destroy()
    else if (line !== undefined) socket.write(`${line}\r\n`)
  }
  socket.on("error", () => {})
  socket.on("data", next)
  next()
})

if (process.argv[1] === import.meta.filename) {
  const [key = "", cert = ""] = process.argv.slice(2)
  const ports: Ports = {
    plain: await listen(
      server({ disabledCommands: ["STARTTLS"], authOptional: true, allowInsecureAuth: true })
    ),
    starttls: await listen(server({ key, cert })),
    tls: await listen(server({ key, cert, secure: true })),
    raw: await new Promise((resolve) => {
      raw.listen(0, "127.0.0.1", () => resolve((raw.address() as AddressInfo).port))
    })
  }
  serve<Message, Reply>(ports.plain, async (message) => {
    switch (message) {
      case "ports":
        return ports
      case "mails":
        return mails
      case "sessions":
        return sessions
      case "reset":
        mails.length = 0
        sessions = 0
        seen.clear()
        waiting.isHeld = waiting.isGone = false
        return null
      case "held":
        if (!waiting.isHeld) await new Promise<void>((resolve) => waiting.held.push(resolve))
        return null
      case "gone":
        if (!waiting.isGone) await new Promise<void>((resolve) => waiting.gone.push(resolve))
        return null
      default:
        lines = message.lines
        return null
    }
  })
}
