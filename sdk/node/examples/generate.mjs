// Write a function, first in one piece and then as it comes.
import { Client } from 'hutch'

const client = new Client() // at HUTCH_HOST, else on this machine
const prompt = 'Write a function to calculate the Fibonacci sequence in Python'
const system = 'You are a helpful Python programming assistant. Provide clean, efficient code with comments.'

const answer = await client.generate('phi4:mini', prompt, {
  system,
  options: { temperature: 0.2, top_p: 0.95, num_predict: 1024 },
})
console.log(answer.text)

for await (const piece of client.generateStream('phi4:mini', prompt, { system })) process.stdout.write(piece.text)
process.stdout.write('\n')
