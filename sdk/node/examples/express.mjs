// An API of your own before a model. When its client leaves, the model stops.
import express from 'express'
import { Client } from 'hutch'

const client = new Client()

async function generateText(model, prompt, systemPrompt = '', signal = undefined) {
  const options = { temperature: 0.7, top_k: 40, top_p: 0.9, num_predict: 1024 }
  const answer = await client.generate(model, prompt, { system: systemPrompt, options, signal })
  return answer.text
}

const app = express()
app.use(express.json())

app.post('/api/chat', async (req, res) => {
  const leaving = new AbortController()
  res.on('close', () => leaving.abort())
  try {
    const response = await generateText('phi4:mini', req.body.message, 'You are a helpful AI assistant.', leaving.signal)
    res.json({ response })
  } catch (error) {
    if (leaving.signal.aborted) return // nobody is left to answer
    console.error('Error generating text:', error.message, error.hint)
    res.status(500).json({ error: 'Failed to generate response' })
  }
})

app.listen(3000, () => {
  console.log('API server running on port 3000')
})
