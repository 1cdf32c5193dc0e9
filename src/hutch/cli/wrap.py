"""Word wrap of text that arrives in pieces."""

import unicodedata


class Wrapper:
    """Breaks lines between words. A word that turns out too long for its line is taken back and moved."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._column = 0
        self._word = ""  # what stands at the end of the line, as far as it may still move

    def feed(self, text: str) -> str:
        """What to write to the terminal for the next piece."""
        return "".join(map(self._character, text))

    def _character(self, character: str) -> str:
        if character == "\n":
            self._column, self._word = 0, ""
            return character
        if character == "\t":
            return self.feed(" " * (8 - self._column % 8))
        width = _width(character)
        if self._column + width <= self._width:
            self._column += width
            self._word = "" if character == " " else self._word + character
            return character
        word, self._word = self._word, ""
        if character == " ":
            self._column = 0
            return "\n"
        word_width = sum(map(_width, word))
        if not word or word_width >= self._column:  # the line is one long word, and stays
            self._column, self._word = width, character
            return "\n" + character
        self._column, self._word = word_width + width, word + character
        return f"\x1b[{word_width}D\x1b[K\n{word}{character}"


def _width(character: str) -> int:
    """How many columns a character takes."""
    if unicodedata.combining(character) or unicodedata.category(character) in ("Cf", "Mn"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
