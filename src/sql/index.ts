/** State that survives, in SQL: an SQLite client, and the adapters of the ports of the core. */
export * as Sqlite from "./Sqlite.ts"
