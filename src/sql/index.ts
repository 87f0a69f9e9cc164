/** State that survives, in SQL: an SQLite client, and the adapters of the ports of the core. */
export * as SqlApprovals from "./SqlApprovals.ts"
export * as SqlAuditLog from "./SqlAuditLog.ts"
export * as SqlBudget from "./SqlBudget.ts"
export * as SqlCircuitBreaker from "./SqlCircuitBreaker.ts"
export * as SqlIdempotency from "./SqlIdempotency.ts"
export * as Sqlite from "./Sqlite.ts"
export * as SqlKillSwitch from "./SqlKillSwitch.ts"
export * as SqlResultCache from "./SqlResultCache.ts"
