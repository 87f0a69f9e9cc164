import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    testTimeout: 60_000,
    // The default leaves one core to whoever watches.
    maxWorkers: "100%",
    // The sources import one another by path; tests import the package by name, as a user would.
    alias: [
      { find: /^effect-interlock$/, replacement: new URL("./src/index.ts", import.meta.url).pathname },
      {
        find: /^effect-interlock\/(mcp|sql|testing)$/,
        replacement: new URL("./src/$1/index.ts", import.meta.url).pathname
      }
    ]
  }
})
