/**
 * The tools: ordinary `effect/ai` tools that say what governance needs to know
 * as annotations. Nothing here knows how they are carried out.
 */
import { Schema } from "effect"
import { Tool, Toolkit } from "effect/ai"
import { ToolAnnotations } from "effect-interlock"

/** How a service fails. Its fields are what a retry is decided by: status, error code, and when to come back. */
export class ServiceError extends Schema.TaggedError<ServiceError>()("ServiceError", {
  service: Schema.String,
  status: Schema.optionalKey(Schema.Int),
  code: Schema.optionalKey(Schema.String),
  /** In seconds. */
  retryAfter: Schema.optionalKey(Schema.Finite)
}) {
  override get message(): string {
    return `${this.service}: ${this.status === undefined ? this.code : `HTTP ${this.status}`}`
  }
}

const Currency = Schema.String.check(Schema.isPattern(/^[A-Z]{3}$/))
const Amount = Schema.Finite.check(Schema.isGreaterThan(0))
const Conversion = Schema.Struct({ amount: Schema.Finite, rate: Schema.Finite })

export const Add = Tool.make("add", {
  description: "Adds two whole numbers",
  parameters: Schema.Struct({ a: Schema.Int, b: Schema.Int }),
  success: Schema.Int
}).annotate(ToolAnnotations.Capabilities, [])

export const GetWeather = Tool.make("get_weather", {
  description: "The weather in a city now",
  parameters: Schema.Struct({ city: Schema.NonEmptyString }),
  success: Schema.Struct({ city: Schema.String, celsius: Schema.Finite }),
  failure: ServiceError
})
  .annotate(Tool.Readonly, true)
  .annotate(ToolAnnotations.Capabilities, ["external_api"])
  .annotate(ToolAnnotations.Cost, 200)

export const ConvertCurrency = Tool.make("convert_currency", {
  description: "Converts at the rate of this minute",
  parameters: Schema.Struct({ amount: Amount, from: Currency, to: Currency }),
  success: Conversion,
  failure: ServiceError
})
  .annotate(Tool.Readonly, true)
  .annotate(ToolAnnotations.Capabilities, ["external_api"])
  .annotate(ToolAnnotations.Retries, 1)
  .annotate(ToolAnnotations.Cost, 50)
  .annotate(ToolAnnotations.Fallback, { tool: "convert_at_daily_rate" })

export const ConvertAtDailyRate = Tool.make("convert_at_daily_rate", {
  description: "Converts at yesterday's closing rate",
  parameters: Schema.Struct({ amount: Amount, from: Currency, to: Currency }),
  success: Conversion
}).annotate(ToolAnnotations.Capabilities, [])

export const SearchTickets = Tool.make("search_tickets", {
  description: "Finds support tickets",
  parameters: Schema.Struct({ query: Schema.NonEmptyString }),
  success: Schema.Struct({
    tickets: Schema.Array(Schema.Struct({ id: Schema.String, title: Schema.String }))
  }),
  failure: ServiceError
})
  .annotate(Tool.Readonly, true)
  .annotate(ToolAnnotations.Capabilities, ["read_data"])
  .annotate(ToolAnnotations.Tags, ["support"])
  // A service that says when to come back is not broken.
  .annotate(ToolAnnotations.Circuit, false)

export const CheckStock = Tool.make("check_stock", {
  description: "How many of an article are in stock",
  parameters: Schema.Struct({ sku: Schema.String }),
  success: Schema.Struct({ sku: Schema.String, available: Schema.Int }),
  failure: ServiceError
})
  .annotate(Tool.Readonly, true)
  .annotate(ToolAnnotations.Capabilities, ["read_data"])

export const LookUpOrder = Tool.make("look_up_order", {
  description: "An order in the legacy ERP",
  parameters: Schema.Struct({ order: Schema.Int }),
  success: Schema.Struct({ order: Schema.Int, state: Schema.String }),
  failure: ServiceError
})
  .annotate(Tool.Readonly, true)
  .annotate(ToolAnnotations.Capabilities, ["read_data"])
  .annotate(ToolAnnotations.Retries, 0)

export const BuildReport = Tool.make("build_report", {
  description: "Builds a report of so many pages",
  parameters: Schema.Struct({ pages: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 1000 })) }),
  success: Schema.Struct({ title: Schema.String, pages: Schema.Int }),
  failure: ServiceError
})
  .annotate(Tool.Readonly, true)
  .annotate(ToolAnnotations.Capabilities, ["read_data"])
  .annotate(ToolAnnotations.Timeout, "600 millis")
  .annotate(ToolAnnotations.Retries, 0)
  .annotate(ToolAnnotations.Circuit, false)

export const ExportArchive = Tool.make("export_archive", {
  description: "Exports the files of a year",
  parameters: Schema.Struct({ year: Schema.Int }),
  success: Schema.Struct({ year: Schema.Int, files: Schema.Int })
})
  .annotate(Tool.Readonly, true)
  .annotate(ToolAnnotations.Capabilities, ["read_data"])
  .annotate(ToolAnnotations.Timeout, "400 millis")
  .annotate(ToolAnnotations.Retries, 0)
  .annotate(ToolAnnotations.Bulkhead, { maxConcurrent: 3, maxQueue: 1 })

export const FetchPage = Tool.make("fetch_page", {
  description: "Fetches a web page of an allowed domain",
  parameters: Schema.Struct({ url: Schema.String }),
  success: Schema.Struct({ title: Schema.String, bytes: Schema.Int }),
  failure: ServiceError
})
  .annotate(Tool.Readonly, true)
  .annotate(Tool.OpenWorld, true)
  .annotate(ToolAnnotations.Capabilities, ["network_access"])

export const SendPayment = Tool.make("send_payment", {
  description: "Pays somebody",
  parameters: Schema.Struct({ to: Schema.NonEmptyString, amount: Amount }),
  success: Schema.Struct({ receipt: Schema.String }),
  failure: ServiceError
})
  .annotate(ToolAnnotations.Capabilities, ["financial"])
  .annotate(ToolAnnotations.Tags, ["money"])

export const DeleteRecord = Tool.make("delete_record", {
  description: "Deletes a customer's record",
  parameters: Schema.Struct({ id: Schema.NonEmptyString }),
  success: Schema.Struct({ id: Schema.String, deleted: Schema.Boolean }),
  failure: ServiceError
})
  .annotate(Tool.Destructive, true)
  .annotate(Tool.Idempotent, true)
  .annotate(ToolAnnotations.Capabilities, ["delete_data"])

export const RunCommand = Tool.make("run_command", {
  description: "Runs a command on the server",
  parameters: Schema.Struct({ command: Schema.String }),
  success: Schema.String
}).annotate(ToolAnnotations.Capabilities, ["execute_code"])

export const tools = Toolkit.make(
  Add,
  GetWeather,
  ConvertCurrency,
  ConvertAtDailyRate,
  SearchTickets,
  CheckStock,
  LookUpOrder,
  BuildReport,
  ExportArchive,
  FetchPage,
  SendPayment,
  DeleteRecord,
  RunCommand
)
export type Tools = typeof tools.tools
