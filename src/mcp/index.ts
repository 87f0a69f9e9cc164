/** The Model Context Protocol: governed tools for its clients. */
export * as Content from "./Content.ts"
export * from "./Server.ts"
