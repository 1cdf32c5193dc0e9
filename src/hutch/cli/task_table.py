"""The rows of the table of commands for task services."""

from hutch.cli.command import JSON, Argument, Command, arg, flag

_RUN = "hutch.cli.task:task"
_TEXT = arg(
    "file", metavar="FILE", nargs="?", default="-", help="a text (default: what comes through standard input)"
)
_PICTURE = arg("file", metavar="FILE", help="a PNG, JPEG, GIF, BMP or WebP picture; - is standard input")
_ASKED = arg("--model", metavar="MODEL", required=True, help="which model to ask")
_NUM_CTX = arg("--num-ctx", type=int, metavar="N", help="the context, in tokens: for a long text")


def _words(name: str, help: str, *, required: bool = False) -> Argument:  # noqa: A002  # argparse's own name
    return arg(f"--{name}", metavar="WORDS", help=f"{help}, with commas between them", required=required)


def _asking(name: str, help: str, *own: Argument) -> Command:  # noqa: A002
    return Command(name, _RUN, help, (_TEXT, _ASKED, *own, _NUM_CTX, JSON))


TASK = Command(
    "task",
    _RUN,
    "Summarise, translate, classify, redact … a text, or read a picture",
    parts=(
        _asking(
            "summarize",
            "Say it shorter",
            arg("--max-words", type=int, metavar="N", help="how long at most (default: 100)"),
            arg("--language", help="in which language (default: the text's own)"),
        ),
        _asking(
            "rewrite", "Say it in another style", arg("--style", metavar="STYLE", help="such as 'polite'")
        ),
        _asking(
            "translate",
            "Say it in another language",
            arg("--to", metavar="LANGUAGE", required=True, help="into which language"),
            arg("--source", metavar="LANGUAGE", help="from which language"),
        ),
        _asking(
            "classify", "Choose one of several labels", _words("labels", "what to choose from", required=True)
        ),
        _asking(
            "extract",
            "Find the values of fields",
            _words("fields", "what is wanted"),
            arg("--schema", metavar="FILE", help="a JSON Schema of the result, in place of --fields"),
        ),
        _asking(
            "table",
            "Make a table of it, as CSV",
            _words("columns", "its columns (default: the model chooses)"),
        ),
        Command(
            "redact",
            _RUN,
            "Take out what is private",
            (
                _TEXT,
                _words("rules", "what goes by its form: email, iban, card, phone (default: all)"),
                _words("names", "what a model is asked to find, such as person"),
                arg("--model", metavar="MODEL", help="which model to ask for --names"),
                _NUM_CTX,
                JSON,
            ),
        ),
        Command(
            "describe",
            _RUN,
            "Say what a picture shows",
            (
                _PICTURE,
                _ASKED,
                arg("--prompt", metavar="TEXT", help="what to ask about it"),
                arg("--max-words", type=int, metavar="N", help="how long at most (default: 100)"),
                JSON,
            ),
        ),
        Command("ocr", _RUN, "Read the text in a picture", (_PICTURE, JSON)),
        Command(
            "enhance",
            _RUN,
            "Make a picture better",
            (
                _PICTURE,
                arg("--output", metavar="FILE", required=True, help="where it goes: .png, .jpg or .webp"),
                arg("--width", type=int, metavar="PIXELS", help="one side alone keeps the proportions"),
                arg("--height", type=int, metavar="PIXELS", help="likewise"),
                arg("--scale", type=float, metavar="FACTOR", help="how many times as large"),
                flag("--denoise", help="take out noise"),
                flag("--contrast", help="spread light and dark"),
                flag("--sharpen", help="sharpen edges"),
            ),
        ),
    ),
)
