"""What the servers are asked: chats and texts that no server has seen, so that no cache answers."""

import random

# Each is one token with the space before it (checked with SmolLM2's vocabulary), so that prompts of as many words are
# equally long for the engine.
WORDS = tuple(
    """
    animal answer apple autumn basket battle bottle branch bread bridge brother bucket butter candle
    captain carpet castle cheese chicken church circle city cloud coast coffee color corner cotton
    country cream crown dance desert dinner doctor dollar door dragon dream dress earth engine evening
    fabric family farmer father feather field finger fire fish flame floor flower fog forest friend
    fruit game garden gate giant gift girl glass gold grass green guitar hammer hand harbor hat heart
    hill honey horse hotel house ice insect iron island jacket juice key king kitchen knife ladder lake
    lamp leaf lemon letter light line lion map market metal milk mirror money moon morning mother
    mountain mouse music needle nest newspaper night noise north number nurse ocean office oil onion
    orange paint palace paper park path pearl pencil people pepper piano picture planet plant plate
    pocket poem pond potato prince queen rabbit rain ribbon rice ring river road rocket rose sail salt
    sand school season shadow ship shoe silver sister sky snow soap soil song soup spider spring square
    star steel stone storm story street sugar summer sun sword table tail tea teacher temple tent
    thunder ticket tiger tower town train tree truck tunnel uncle valley village violin voice wall watch
    water wave wheel wind window wine winter wolf wood wool world yard year yellow zone
    """.split()  # noqa: SIM905  a list of 219 words in quotes is no easier to read
)

Chat = list[dict[str, str]]
STORY = "Write a very long story in which all of these words occur."


class Prompts:
    """Chats that no server has seen, so that no cache answers. Their length depends on the number of words alone."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._given: set[str] = set()

    def new(self, num_words: int) -> Chat:
        """Make a chat. The random words come first, else a template's own system text would be a common prefix."""
        words = f"Words: {self.words(num_words)}"
        return [*says("system", words), *says("user", STORY)]

    def words(self, num_words: int) -> str:
        """Words in an order that was not given before."""
        while True:
            words = " ".join(self._random.choices(WORDS, k=num_words))
            if words not in self._given:
                self._given.add(words)
                return words

    def program(self, num_lines: int) -> tuple[str, str]:
        """A function of so many lines, and the name of its argument."""
        names = [self.words(2).replace(" ", "_") for _ in range(num_lines)]
        calls = [self._random.choice(WORDS) for _ in names[1:]]
        lines = [
            f"    {name} = open_{call}({before})"
            for before, name, call in zip(names, names[1:], calls, strict=False)
        ]
        return "\n".join([f"def build({names[0]}):", *lines, f"    return {names[-1]}"]), names[0]


def says(role: str, content: str) -> Chat:
    """A chat of one message."""
    return [{"role": role, "content": content}]
