"""Looks whether a JSON Schema can hold an answer: `python -m hutch.engines.schema`, from standard input to output.

Says what is wrong with it, or nothing. A process of its own, because the schema comes from anywhere, the engine that compiles
it could be made to take long, and an engine that cannot goes on without it.
"""

import importlib
import json
import sys

from hutch.engines.grammar import fault_of


def main() -> None:
    """Look at one schema."""
    matcher = importlib.import_module("llguidance").LLMatcher
    schema = json.load(sys.stdin.buffer)
    sys.stdout.buffer.write(fault_of(matcher.grammar_from_json_schema(schema)).encode())


if __name__ == "__main__":
    main()
