/**
 * How the tools are carried out: plain functions, a promise, and Effects that
 * speak HTTP. None of them knows that it is governed.
 */
import { Effect, Layer, Schema } from "effect"
import { HttpClient, type HttpClientError, HttpClientRequest, HttpClientResponse } from "effect/http"
import { Handlers } from "effect-interlock"
import { DemoService } from "./service.ts"
import * as Tools from "./tools.ts"

const { get, post, delete: del } = HttpClientRequest

const make = Effect.gen(function* () {
  const http = (yield* HttpClient.HttpClient).pipe(HttpClient.filterStatusOk)
  const { deadUrl, url } = yield* DemoService

  /** Sends a request to a service; its answer must fit the schema. */
  const send = <A>(
    service: string,
    request: HttpClientRequest.HttpClientRequest,
    answer: Schema.ConstraintDecoder<A>
  ): Effect.Effect<A, Tools.ServiceError> =>
    http.execute(request).pipe(
      Effect.flatMap(HttpClientResponse.schemaBodyJson(answer)),
      Effect.mapError((error) => serviceError(service, error))
    )

  const at = (...segments: ReadonlyArray<string | number>) =>
    [url, ...segments.map(encodeURIComponent)].join("/")

  return Handlers.toLayer(Tools.tools, {
    add: ({ a, b }) => a + b,

    convert_at_daily_rate: ({ amount, from, to }) => {
      const rate = (dailyRates.get(to) ?? 1) / (dailyRates.get(from) ?? 1)
      return { amount: amount * rate, rate }
    },

    // `fetch(…, { signal })` would stop with the call. This one ignores its signal, as many do.
    export_archive: async ({ year }) => {
      const response = await fetch(at("archive", year))
      return (await response.json()) as typeof Tools.ExportArchive.successSchema.Type
    },

    run_command: ({ command }) => `did not run: ${command}`,

    get_weather: ({ city }) => send("weather", get(at("weather", city)), Tools.GetWeather.successSchema),

    convert_currency: ({ amount, from, to }) =>
      send(
        "exchange",
        get(at("exchange"), { urlParams: { from, to } }),
        Schema.Struct({ rate: Schema.Finite })
      ).pipe(Effect.map(({ rate }) => ({ amount: amount * rate, rate }))),

    search_tickets: ({ query }) =>
      send("tickets", get(at("tickets"), { urlParams: { query } }), Tools.SearchTickets.successSchema),

    check_stock: ({ sku }) => send("inventory", get(at("stock", sku)), Tools.CheckStock.successSchema),

    look_up_order: ({ order }) =>
      send("erp", get(`${deadUrl}/orders/${order}`), Tools.LookUpOrder.successSchema),

    build_report: ({ pages }) => send("reports", get(at("reports", pages)), Tools.BuildReport.successSchema),

    // The demo's service stands in for the whole web.
    fetch_page: (params) => {
      const { host, pathname } = new URL(params.url)
      return send("web", get(at("pages", host + pathname)), Tools.FetchPage.successSchema)
    },

    send_payment: (params) =>
      send(
        "bank",
        post(at("payments")).pipe(HttpClientRequest.bodyJsonUnsafe(params)),
        Tools.SendPayment.successSchema
      ),

    delete_record: ({ id }) => send("records", del(at("records", id)), Tools.DeleteRecord.successSchema)
  })
})

/** The handlers of all tools. */
export const layer = Layer.unwrap(make)

const dailyRates = new Map([
  ["USD", 1],
  ["EUR", 0.93],
  ["GBP", 0.8],
  ["JPY", 150],
  ["NOK", 10.6]
])

const serviceError = (service: string, error: HttpClientError.HttpClientError | Schema.SchemaError) => {
  if (error._tag === "SchemaError") return new Tools.ServiceError({ service, code: "UNEXPECTED_ANSWER" })
  if (error.response !== undefined) {
    const retryAfter = Number(error.response.headers["retry-after"] ?? Number.NaN)
    return new Tools.ServiceError({
      service,
      status: error.response.status,
      ...(Number.isFinite(retryAfter) ? { retryAfter } : {})
    })
  }
  const cause = error.cause as { readonly code?: unknown } | undefined
  return new Tools.ServiceError({ service, code: String(cause?.code ?? "CONNECTION_FAILED") })
}
