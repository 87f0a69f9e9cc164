/** The Model Context Protocol: governed tools for its clients. */
export * as Content from "./Content.ts"
export * as Gateway from "./Gateway.ts"
export * as Pins from "./Pins.ts"
export * from "./Server.ts"
