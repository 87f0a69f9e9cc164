import { layerMemory } from "../src/Budget.ts"
import { suite } from "./BudgetSuite.ts"

suite("memory", (limits) => layerMemory(limits), { runs: 300 })
