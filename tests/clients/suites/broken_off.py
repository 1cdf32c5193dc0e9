"""An answer that ends with an error, as the Python package tells it."""

import ollama

try:
    for part in ollama.chat("llama3.2", [{"role": "user", "content": "Break in the middle."}], stream=True):
        print(part.message.content, end="")
except ollama.ResponseError as error:
    print(f"\nerror: {error.error}")
