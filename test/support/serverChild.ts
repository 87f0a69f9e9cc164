/** The side of `serverProcess.ts` that is in the server's process, which loads nothing else. */

/** Says where the server listens, and answers what it is told. */
export const serve = <Message, Reply>(
  port: number,
  answer: (message: Message) => Reply | Promise<Reply>
): void => {
  process.on("message", async ({ id, message }: { id: number; message: Message }) => {
    process.send?.({ id, reply: await answer(message) })
  })
  process.on("disconnect", () => process.exit())
  process.send?.({ port })
}
