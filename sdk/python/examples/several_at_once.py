"""Ask several things at once, and find the text that is nearest to a question."""

import asyncio

from hutch import AsyncClient


async def main() -> None:
    """Ask."""
    async with AsyncClient() as client:
        questions = ["What is edge computing?", "What is a small language model?"]
        answers = await asyncio.gather(*(client.chat("qwen2.5:3b", question) for question in questions))
        for question, answer in zip(questions, answers, strict=True):
            print(question, answer.text, sep="\n")

        texts = ["Models run where the data is.", "Rabbits live in a hutch."]
        wanted, *found = (await client.embed("nomic-embed-text", ["Edge AI", *texts])).vectors
        likeness = [sum(x * y for x, y in zip(wanted, vector, strict=True)) for vector in found]
        print(texts[likeness.index(max(likeness))])


asyncio.run(main())
