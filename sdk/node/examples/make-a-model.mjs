// Make the assistant of an enterprise, ask it, and remove it. Shows how far each step is.
import { Client, HutchError } from 'hutch'

const client = new Client()

const steps = client.createStream('enterprise-assistant', {
  from: 'qwen2.5:3b',
  system: 'You are an enterprise assistant. Always maintain a professional tone.',
  parameters: { temperature: 0.7, top_p: 0.9, num_ctx: 4096 },
})
for await (const step of steps) {
  const share = step.total_bytes ? ` ${Math.round((100 * step.completed_bytes) / step.total_bytes)}%` : ''
  console.log(step.status + share)
}

console.log((await client.chat('enterprise-assistant', 'Who are you?')).text)
for (const model of await client.ps()) console.log(model.name, `${model.size_bytes >> 20} MiB`, model.state)

await client.delete('enterprise-assistant')
try {
  await client.show('enterprise-assistant')
} catch (error) {
  if (!(error instanceof HutchError)) throw error
  console.log(error.httpStatus, error.message, error.hint)
}
