"""Write a function, first in one piece and then as it comes."""

from hutch import Client

client = Client()  # at HUTCH_HOST, else on this machine

MODEL = "phi4:mini"
PROMPT = "Write a function to calculate the Fibonacci sequence in Python"
SYSTEM = "You are a helpful Python programming assistant. Provide clean, efficient code with comments."

answer = client.generate(
    MODEL,
    PROMPT,
    system=SYSTEM,
    options={"temperature": 0.2, "top_p": 0.95, "num_predict": 1024},
)
print(answer.text)


def stream_answer() -> None:
    """Print the words as they come."""
    with client.generate_stream(MODEL, PROMPT, system=SYSTEM) as pieces:
        for piece in pieces:
            print(piece.text, end="", flush=True)
    print()


stream_answer()
