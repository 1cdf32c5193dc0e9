"""Which architectures of Hugging Face can be converted, and by what."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from hutch.core.errors import NotBuilt
from hutch.formats.gguf_source import shown
from hutch.formats.gguf_writer import NewGGUF
from hutch.store.conversion import bert, decoder
from hutch.store.conversion.families import FAMILIES
from hutch.store.conversion.folder import Folder, opened

CONVERTERS: Mapping[str, Callable[[Folder], NewGGUF]] = MappingProxyType(
    {
        "BertModel": bert.convert,
        **dict.fromkeys(FAMILIES, decoder.convert),
    }
)


def converted(files: Mapping[str, Path]) -> NewGGUF:
    """The model that these files make, by their names in its folder. Raises BadInput, FormatError or NotBuilt."""
    folder = opened(files)
    named = folder.config.get("architectures")
    name = named[0] if isinstance(named, list) and named else None
    convert = CONVERTERS.get(name) if isinstance(name, str) else None
    if convert is None:
        raise NotBuilt(
            f"unsupported architecture {shown(name)}",
            hint=f"What can be converted: {', '.join(CONVERTERS)}. Convert others with llama.cpp, and give the GGUF file.",
        )
    return convert(folder)
