"""Writes a regular expression or a grammar as one in Lark: `python -m hutch.engines.grammar`, JSON from standard input to output.

Says `fault`, or `lark` and whether what came `is_gbnf`. A process of its own, because what comes may be from anywhere, and to
compile it could be made to take long.
"""

import importlib
import json
import sys
import time
from typing import Any

_HEADER = "%llguidance"  # by which both engines know Lark
_MAX_WORK_S = 0.5  # of CPU, up to the first token; a hundred ordinary fields take 0.02


def main() -> None:
    """Write one."""
    json.dump(_written(**json.load(sys.stdin.buffer)), sys.stdout)


def fault_of(grammar: str) -> str:
    """What is wrong with a grammar as the library has it, also with the work that it makes; empty for nothing."""
    library = importlib.import_module("llguidance")
    if fault := library.LLMatcher.validate_grammar(grammar):
        return str(fault)
    began = time.process_time()
    matcher = library.LLMatcher(library.LLTokenizer("byte"), grammar, log_level=0)
    matcher.compute_bitmask()
    if time.process_time() - began > _MAX_WORK_S:
        return "it takes too much work: say less often, how often something repeats"
    return str(matcher.get_error())


def _written(kind: str, text: str) -> dict[str, Any]:
    library = importlib.import_module("llguidance")
    converters = importlib.import_module("llguidance.gbnf_to_lark")
    is_gbnf = False
    if kind == "regex":
        lark = f"start: /{library.regex_to_lark(text)}/"
    elif text.lstrip().startswith(_HEADER):
        lark = text.lstrip()
    else:
        try:
            library.grammar_from("grammar", text)  # which makes every complaint a ValueError
        except ValueError as error:
            return {"fault": str(error)}
        is_gbnf = not converters.is_lark_syntax(text)
        lark = converters.any_to_lark(text)
    if not lark.startswith(_HEADER):
        lark = f"{_HEADER} {{}}\n{lark}"
    return {"fault": fault_of(library.LLMatcher.grammar_from_lark(lark)), "lark": lark, "is_gbnf": is_gbnf}


if __name__ == "__main__":
    main()
