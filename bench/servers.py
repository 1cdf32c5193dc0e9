"""The kinds of servers that can be compared, and the command that starts each."""

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.load import PATHS, Server
from bench.serve import Command, free_port, hutch
from hutch.core.models import Model
from hutch.core.names import ModelName
from hutch.store import installed, local
from hutch.store.store import ModelStore

LABELS = {
    "hutch": "Hutch (wheel)",
    "hutch-built": "Hutch (built engine)",
    "hutch-optimized": "Hutch (optimized file)",
    "hutch-onnx": "Hutch (ONNX)",
    "ollama": "Ollama",
    "yardstick": "llama-server with Ollama's settings",
    "llama-server": "llama-server",
    "foundry": "Foundry Local",
}
OF_HUTCH = ("hutch", "hutch-built", "hutch-optimized", "hutch-onnx")
BUILT = ("hutch-built", "hutch-optimized")
OF_LLAMA_SERVER = ("yardstick", "llama-server")  # one model in each process
FOUNDRY_MODEL = "bench-generic-cpu:1"  # Foundry Local knows models by such names only
NUM_CTX = 4096
# As Ollama 0.33 starts it.
AS_OLLAMA = (
    *("-c", "4096", "-np", "1", "-b", "512", "-ub", "512", "--context-shift", "--keep", "4"),
    *("--flash-attn", "auto", "--load-mode", "none"),
)
USUAL = ("-c", "16384", "-np", "4")
# Each with a value. Without a front that chooses slots (-sps 0) a llama-server does so itself, by what they hold.
_NOT_ALIKE = ("--host", "--port", "--api-key", "--model", "--slot-save-path", "-sps")
_NOT_COPIED = ("models", "engines", "kv", "logs", "keys.json", "*.sock")
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*=.*")


@dataclass(frozen=True, slots=True)
class Peer:
    """A server that takes part. `of` is the one whose worker it is; `place` is where it runs, if it runs already."""

    name: str
    kind: str
    dialect: str = "openai"
    model: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    of: str = ""
    place: Server | None = None

    @classmethod
    def parse(cls, text: str) -> "Peer":
        """Read `[NAME=]KIND[,DIALECT][,model=MODEL][,VARIABLE=VALUE]…`, NAME=worker:OTHER, or `NAME=ADDRESS,DIALECT`."""
        _, _, rest = text.partition("=")
        if rest.startswith(("http:", "https:", "unix:")):
            place = Server.parse(text)
            return cls(place.name, "url", place.dialect, place=place)
        words = text.split(",")
        name, named, kind = words[0].partition("=")
        kind, _, of = (kind if named else name).partition(":")
        is_known = (kind in LABELS and not of) or (kind == "worker" and of and named)
        if not is_known or not name:
            raise ValueError(
                f"{text!r}: write NAME=ADDRESS,DIALECT, NAME=worker:OTHER, or one of {', '.join(LABELS)}"
            )
        peer = cls(name if named else LABELS[kind], kind, "ollama" if kind == "ollama" else "openai", of=of)
        for word in words[1:]:
            peer = _with(peer, word)
        return peer

    @property
    def offers(self) -> frozenset[str]:
        """What it can be asked for: chat, texts (to embed), process (it can be started anew)."""
        # Foundry Local looks in vain for its catalog when it starts: no start of it is judged.
        none_of = {"foundry": {"process", "texts"}, "hutch-onnx": {"texts"}, "hutch-optimized": {"texts"}}
        none_of |= {"worker": {"process", "texts"}, "url": {"process"}}
        return frozenset({"chat", "texts", "process"} - none_of.get(self.kind, set()))


@dataclass(frozen=True, slots=True)
class Setup:
    """What servers are made of on this machine. What is None is not there."""

    models: Path
    model: str
    embedding_model: str = ""
    onnx_model: str = ""
    home: Path | None = None
    llama_server: Path | None = None
    ollama: Path | None = None
    foundry: Path | None = None
    num_threads: int = 2  # of Foundry Local

    def model_of(self, peer: Peer, *, embeds: bool = False) -> str:
        """The model by the name under which this server has it."""
        if embeds:
            return self.embedding_model
        usual = {"foundry": FOUNDRY_MODEL, "hutch-onnx": self.onnx_model}
        return peer.model or usual.get(peer.kind, self.model)

    def opened(self, name: str) -> Model:
        """A model of the folder."""
        return ModelStore(self.models, local.local_catalog).open(ModelName.parse(name))

    def engine(self) -> Path:
        """The llama-server that was named, or that the home has in use."""
        found = self.llama_server
        if found is None and self.home is not None:
            found = Path(installed.binary_in_use(self.home / "engines", None))
        if not found or not found.is_file():
            raise RuntimeError("no llama-server: name one, or a home with a built engine")
        return found


def command(setup: Setup, peer: Peer, folder: Path, model: str, flags: Sequence[str] = ()) -> Command:
    """How to start a server, with a folder for what it writes. `flags` are of a llama-server that it shall be like."""
    if peer.kind in OF_HUTCH:
        home = hutch_home(setup, peer, folder)
        # By its own path, for what was tuned is of an engine in its place.
        engine = {"HUTCH_LLAMA_SERVER": str(setup.engine())} if peer.kind in BUILT else {}
        return hutch(home, setup.models, {"HUTCH_KEEP_ALIVE": "-1", **engine, **peer.settings})
    if peer.kind == "ollama":
        return _ollama(setup, peer, folder)
    if peer.kind == "foundry":
        return _foundry(setup, folder)
    if peer.kind not in OF_LLAMA_SERVER:
        raise RuntimeError(f"{peer.name} is not started here")
    port = free_port()
    embeds = ["--embedding"] if model == setup.embedding_model else []
    chosen = [*AS_OLLAMA, *embeds] if peer.kind == "yardstick" else [*flags] or [*USUAL, *embeds]
    where = ["--host", "127.0.0.1", "--port", str(port)]
    quiet = [flag for flag in ("--no-webui", "--offline") if flag not in chosen]
    argv: list[str | Path] = [
        setup.engine(),
        "--model",
        setup.opened(model).weights[0],
        *where,
        *quiet,
        *chosen,
    ]
    return Command(argv, port, peer.settings, ready="/health")


def hutch_home(setup: Setup, peer: Peer, folder: Path) -> Path:
    """A home in this folder; one that was made before is kept. It has settings and what was tuned, but no secrets."""
    home = folder / "home"
    if home.exists():
        return home
    if peer.kind in BUILT and setup.home:
        shutil.copytree(setup.home, home, symlinks=True, ignore=shutil.ignore_patterns(*_NOT_COPIED))
    else:
        home.mkdir(parents=True)
    return home


def like(command_line: Sequence[str]) -> list[str]:
    """The flags of a llama-server that runs, without its place, its model and its states."""
    words = iter(command_line[1:])
    found = []
    for word in words:
        if word in _NOT_ALIKE:
            next(words, "")
        else:
            found.append(word)
    return found


def _with(peer: Peer, word: str) -> Peer:
    name, _, value = word.partition("=")
    if word in PATHS:
        return replace(peer, dialect=word)
    if name == "model" and value:
        return replace(peer, model=value)
    if _VARIABLE.fullmatch(word):
        return replace(peer, settings={**peer.settings, name: value})
    raise ValueError(f"{word!r} is no dialect, no model=NAME and no VARIABLE=VALUE")


def _ollama(setup: Setup, peer: Peer, folder: Path) -> Command:
    if setup.ollama is None:
        raise RuntimeError("there is no ollama on the PATH, and none was named")
    port = free_port()
    models = folder / "models"
    if not models.exists():  # links, for it prunes what it thinks is not needed
        shutil.copytree(setup.models.resolve(), models, copy_function=_link)
    environment = {
        "HOME": str(folder),
        "OLLAMA_HOST": f"127.0.0.1:{port}",
        "OLLAMA_MODELS": str(models),
        "OLLAMA_NOPRUNE": "1",
        "OLLAMA_KEEP_ALIVE": "-1",
        **peer.settings,
    }
    return Command((setup.ollama, "serve"), port, environment)


def _link(source: str, target: str) -> None:
    Path(target).symlink_to(source)


def _foundry(setup: Setup, folder: Path) -> Command:
    """Foundry Local with the files of the ONNX model, in which threads and context are as Hutch has them."""
    if setup.foundry is None or not setup.onnx_model:
        raise RuntimeError("Foundry Local needs --foundry and --onnx-model")
    port = free_port()
    files = folder / "onnx"
    if not files.exists():
        for file in setup.opened(setup.onnx_model).files:
            (files / file.name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file.path, files / file.name)
        config = files / "genai_config.json"
        said = json.loads(config.read_text())
        said["model"]["decoder"]["session_options"]["intra_op_num_threads"] = setup.num_threads
        said["model"]["context_length"] = said["search"]["max_length"] = NUM_CTX
        config.write_text(json.dumps(said, indent=1))
    script = Path(__file__).with_name("foundry_server.py")
    state = folder / "data"
    shutil.rmtree(state, ignore_errors=True)  # it plants the model in an empty one
    return Command((setup.foundry, script, files, str(port), state), port, ready="/", ends_with_input=True)
