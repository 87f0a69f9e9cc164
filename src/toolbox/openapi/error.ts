/** What is wrong with a document, with the options, or with an argument that no schema forbids. */
import * as Schema from "effect/Schema"

export class OpenApiError extends Schema.TaggedError<OpenApiError>("interlock/toolbox/OpenApiError")(
  "OpenApiError",
  {
    /**
     * - `read`: there is no such document, or it cannot be read.
     * - `document`: it is no OpenAPI document, or nothing in it can be used.
     * - `options`: they name what is not in the document, or cannot be.
     * - `argument`: a value fits its schema, and has no form in which a server would read it as it is. The
     *   tools fail with this one only.
     */
    reason: Schema.Literals(["read", "document", "options", "argument"]),
    /** Where: a JSON pointer into the document, the name of an option, or of an argument. */
    at: Schema.String,
    problem: Schema.String
  }
) {
  override get message(): string {
    return this.at === "" ? this.problem : `${this.at}: ${this.problem}`
  }
}
