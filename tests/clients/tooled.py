"""The small model with a chat template of its own that has tools and shows how they are called, so that it calls one when it has to."""

from collections.abc import Iterator
from pathlib import Path

from hutch.formats import gguf
from hutch.formats.gguf import Tensor
from hutch.formats.gguf_writer import NewGGUF, NewTensor, entry
from tests import onnx_smollm
from tests.family_templates import TEMPLATES

_KEY = "tokenizer.chat_template"
# llama.cpp lets words come before a call that is required, and the small model would write nothing else. What it sees done
# a few times it does.
_ASKED = ("How is it now?", "Say hello.", "What is it?", "Tell me.")
_CALLED = (
    "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n<tool_call>\n"
    '{{"name": "{{{{ tools[0].function.name }}}}", "arguments": {{}}}}\n</tool_call><|im_end|>\n'
)
_EXAMPLES = "".join(_CALLED.format(asked) for asked in _ASKED)
_TEMPLATE = TEMPLATES["qwen2.5"].replace("{% endif %}", f"{_EXAMPLES}{{% endif %}}", 1)
_PIECE_BYTES = 1 << 20


def write(weights: Path, folder: Path, engine: str) -> Path:
    """The model for this engine, in the folder: what a Modelfile's FROM can name. `weights`: a GGUF file."""
    folder.mkdir(parents=True)
    made = folder / "tooled.gguf"
    facts = gguf.read(weights)
    with weights.open("rb") as file:
        entries = {}
        for key, (start, end) in facts.spans.items():
            file.seek(start)
            entries[key] = file.read(end - start)
    entries[_KEY] = entry(_KEY, _TEMPLATE)
    tensors = tuple(_tensor(weights, facts.data_start, each) for each in facts.tensors)
    with made.open("wb") as file:
        for piece in NewGGUF(entries, tensors).pieces():
            file.write(piece)
    return made if engine == "gguf" else onnx_smollm.write(made, folder / "tooled")


def _tensor(weights: Path, data_start: int, tensor: Tensor) -> NewTensor:
    def pieces() -> Iterator[bytes]:
        with weights.open("rb") as file:
            file.seek(data_start + tensor.offset)
            for left in range(tensor.size_bytes, 0, -_PIECE_BYTES):
                yield file.read(min(left, _PIECE_BYTES))

    return NewTensor(tensor.name, tensor.shape, tensor.type_name, pieces)
