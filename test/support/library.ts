/**
 * The town library of `fixtures/openapi/library.yaml`: a server that keeps books, and reads every parameter
 * by itself.
 */
import { type Answer, type Arrived, json } from "./openapi.ts"

export const key = "shelf-key-8f2c1d"
export const member = "3f0c0a9e-5a55-4b61-9d86-0d3c6e1f2a77"

/** A picture that is no text. */
export const png = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0x00, 0xff, 0xfe, 0x01])

interface Book extends Record<string, unknown> {
  readonly id: number
  readonly isbn: string
  readonly title: string
  readonly year?: number | null
}

const problem = (status: number, title: string, headers: Readonly<Record<string, string>> = {}): Answer => ({
  status,
  headers: { "content-type": "application/problem+json", ...headers },
  body: JSON.stringify({ title, status })
})
const nothing: Answer = { status: 204 }

/** The parts of a form, read as RFC 7578 has them. */
export const partsOf = ({ body, headers }: Arrived) => {
  const boundary = /boundary=(.+)$/.exec(headers.get("content-type")![0]!)![1]!
  const pieces = body.toString("latin1").split(`--${boundary}`)
  return pieces.slice(1, -1).map((piece) => {
    const [head = "", ...content] = piece.slice(2, -2).split("\r\n\r\n")
    return {
      name: /name="([^"]*)"/.exec(head)![1]!,
      filename: /filename="([^"]*)"/.exec(head)?.[1],
      type: /content-type: (.*)/i.exec(head)?.[1],
      content: Buffer.from(content.join("\r\n\r\n"), "latin1")
    }
  })
}

/** A library with one book, and what it has been told. */
export const library = () => {
  const books = new Map<string, Book>([
    ["0-330-25864-8", { id: 1, isbn: "0-330-25864-8", title: "The Restaurant", year: 1980 }]
  ])
  const heard: Array<unknown> = []
  let renewals = 0

  const answer = (arrived: Arrived): Answer => {
    const url = new URL(arrived.target, "http://library")
    const path = url.pathname.split("/").slice(1).map(decodeURIComponent)
    const route = `${arrived.method} ${path[0]}`
    const text = arrived.body.toString("utf8")
    const type = arrived.headers.get("content-type")?.[0] ?? ""
    const body = type.includes("json") ? JSON.parse(text) : undefined
    if (path[0] === "status") return json({ open: true })
    if (arrived.headers.get("x-library-key")?.join() !== key) return problem(401, "Who are you?")
    switch (route) {
      case "GET books":
      case "HEAD books":
        return readBooks(url, path, arrived)
      case "POST books":
        if (path[1] === "search") return json([...books.values()].filter((book) => fits(book, body)))
        if (path[2] === "copies") return json({ id: 7, ...body }, 201)
        if (path[2] === "attachments") {
          heard.push(partsOf(arrived))
          return json({ stored: true }, 201)
        }
        if (books.has(body.isbn)) return problem(409, "There is such a book.")
        books.set(body.isbn, { id: books.size + 1, ...body })
        return json(books.get(body.isbn), 201)
      case "PUT books": {
        if (path[2] === "cover") {
          heard.push([type, arrived.body])
          return nothing
        }
        if (arrived.headers.get("if-match")?.join() !== '"1"') return problem(412, "It has changed.")
        books.set(path[1]!, { id: 1, ...body })
        return json(books.get(path[1]!))
      }
      case "PATCH books":
        books.set(path[1]!, { ...books.get(path[1]!)!, ...body })
        heard.push(type)
        return json(books.get(path[1]!))
      case "DELETE books":
        return books.delete(path[1]!) ? nothing : problem(404, "No such book.")
      case "GET copies":
        return json({ id: Number(/^;copyId=(\d+)$/.exec(path[1]!)![1]), shelf: "A" })
      case "GET members":
        return path[2] === "loans"
          ? json([{ id: 1, memberId: path[1] }])
          : json([{ id: member, name: "Ada" }])
      case "POST members":
        heard.push([...new URLSearchParams(text)])
        return json({ id: member, name: "Ada" }, 201)
      case "PUT members":
        heard.push(body)
        return nothing
      case "POST loans":
        if (path[2] !== "renew") return { status: 201, headers: { location: "/v2/loans/12" } }
        return renewals++ === 0 ? problem(429, "Not so fast.", { "retry-after": "7" }) : nothing
      case "GET reservations":
        return json(path[1]!.split(",").map((id) => ({ id: Number(id) })))
      case "GET reports":
        return json({ report: path[1] })
      case "POST announcements":
        heard.push([type, text])
        return { status: 202 }
    }
    return problem(404, "There is nothing here.")
  }

  const readBooks = (url: URL, path: ReadonlyArray<string>, arrived: Arrived): Answer => {
    const [, isbn, below] = path
    if (isbn === undefined) {
      const query = url.searchParams
      heard.push({
        query: [...query],
        tag: arrived.headers.get("x-request-tag"),
        cookie: arrived.headers.get("cookie")
      })
      const from = Number(query.get("year[gte]") ?? 0)
      const found = [...books.values()].filter((book) => (book.year ?? 0) >= from)
      return {
        ...json(found),
        headers: {
          "content-type": "application/json",
          "x-total-count": String(found.length),
          "x-served-by": "shelf-3"
        }
      }
    }
    if (isbn === "export") {
      return {
        headers: { "content-type": "text/csv; charset=iso-8859-1" },
        body: Buffer.from("title\nZürich\n", "latin1")
      }
    }
    const book = books.get(isbn)
    if (book === undefined) return problem(404, "No such book.")
    if (below === "cover") return { headers: { "content-type": "image/png" }, body: png }
    return { ...json(book), headers: { "content-type": "application/json", etag: '"1"' } }
  }

  return { answer, books, heard }
}

type Filter =
  | { readonly all: ReadonlyArray<Filter> }
  | { readonly not: Filter }
  | { readonly field: string; readonly is: unknown }

const fits = (book: Book, filter: Filter): boolean => {
  if ("all" in filter) return filter.all.every((one) => fits(book, one))
  if ("not" in filter) return !fits(book, filter.not)
  return book[filter.field] === filter.is
}
