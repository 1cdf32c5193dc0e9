"""Where things are: folders and the server's address. Standard library only, so that every command may ask."""

import importlib
import os
import re
import sys
from pathlib import Path

from hutch.core.errors import BadInput

DEFAULT_PORT = 11434
SHIMS = ("ollama", "foundry-local")
CLIENT_VARIABLES = {
    "HOME": ("HUTCH_HOME",),
    "MODELS": ("HUTCH_MODELS", "OLLAMA_MODELS"),
    "HOST": ("HUTCH_HOST", "OLLAMA_HOST"),
    "API_KEY": ("HUTCH_API_KEY", "OLLAMA_API_KEY"),
    "NOHISTORY": ("HUTCH_NOHISTORY", "OLLAMA_NOHISTORY"),
    "EDITOR": ("HUTCH_EDITOR", "OLLAMA_EDITOR", "VISUAL", "EDITOR"),
}
FOUNDRY_VARIABLES = {"preload": ("FOUNDRY_MODEL",), "preload_port": ("FOUNDRY_PORT",)}
GPU_LAYERS = (
    "HUTCH_GPU_LAYERS",
    "OLLAMA_GPU_LAYERS",
)  # sent along by `run`; a server takes them as its num_gpu
_HOST = re.compile(r"[\w.-]*")
_LOOPBACK = re.compile(r"127(\.[0-9]{1,3}){1,3}")  # and not a name that begins so


def first_set(*names: str) -> str:
    """The first of these environment variables that is set and not empty; "" where none is."""
    return next((name for name in names if variable(name)), "")


def variable(*names: str) -> str:
    """The first of these environment variables that is set, without spaces and quotes around it."""
    for name in names:
        if value := os.environ.get(name, "").strip().strip("\"'").strip():
            return value
    return ""


def is_true(text: str) -> bool:
    """A switch as Ollama reads it: what is no word for "no" means yes."""
    return text.lower() not in ("", "0", "f", "false", "n", "no", "off")


def program() -> str:
    """The name that Hutch was called by: `hutch`, or one of the names that `hutch shims` installs."""
    name = Path(sys.argv[0]).stem
    return name if name in SHIMS else "hutch"


def home() -> Path:
    """The folder of configuration, state, logs and engines."""
    return Path(variable(*CLIENT_VARIABLES["HOME"]) or "~/.hutch").expanduser().absolute()


def models() -> Path:
    """The model folder, in Ollama's layout. Raises BadInput where a file has its name."""
    name = first_set(*CLIENT_VARIABLES["MODELS"])
    folder = Path(variable(name)).expanduser().absolute() if name else home() / "models"
    if folder.is_file():
        raise BadInput(f"{name or 'model folder'}: {folder} is no folder", hint="Set HUTCH_MODELS to one.")
    return folder


def keys_file() -> Path:
    """The file of the keys that a server here knows."""
    return home() / "keys.json"


def kept_states() -> Path:
    """The folder of what slots held when their models went."""
    return home() / "kv"


def api_key() -> str:
    """The key that this client sends."""
    return variable(*CLIENT_VARIABLES["API_KEY"])


def history_file() -> Path | None:
    """Where `hutch run` keeps what was typed, unless that was forbidden."""
    return None if is_true(variable(*CLIENT_VARIABLES["NOHISTORY"])) else home() / "history"


def editor() -> str:
    """The command of the text editor that Ctrl-g opens."""
    return os.environ.get(first_set(*CLIENT_VARIABLES["EDITOR"]), "")  # its quotes are for the shell


def pip_environment() -> dict[str, str]:
    """The variables that tell where pip's settings are, and what they are."""
    folders = ("XDG_CONFIG_DIRS", "XDG_CONFIG_HOME", "VIRTUAL_ENV", "APPDATA", "PROGRAMDATA")
    return {name: value for name, value in os.environ.items() if name.startswith("PIP_") or name in folders}


def catalogs() -> Path:
    """The folder of the copies of catalogs that were fetched."""
    return home() / "catalogs"


def engines() -> Path:
    """The folder of the engines that were built here."""
    return home() / "engines"


def tuned() -> Path:
    """The folder of what `hutch tune` found."""
    return home() / "tuned"


def build_environment(*programs: Path) -> dict[str, str]:
    """The environment for building an engine, with these folders of programs before the others."""
    path = os.pathsep.join((*map(str, programs), os.environ.get("PATH") or os.defpath))
    return {**os.environ, "PATH": path}


def docker_logins() -> str | Path:
    """The logins that Docker's clients use at registries: the text of a `config.json`, or where that file is."""
    folder = variable("DOCKER_CONFIG") or "~/.docker"
    return variable("DOCKER_AUTH_CONFIG") or Path(folder).expanduser() / "config.json"


def _is_ipv6(host: str) -> bool:
    try:
        importlib.import_module("ipaddress").IPv6Address(host)  # which most commands need not import
    except ValueError:
        return False
    return True


class Address:
    """A server's address: `scheme://host:port/path`."""

    __slots__ = ("host", "path", "port", "remark", "scheme")

    def __init__(self, scheme: str, host: str, port: int, path: str = "", remark: str = "") -> None:
        self.scheme, self.host, self.port, self.path = scheme, host, port, path
        self.remark = remark  # what was wrong with the port that was written

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Read an address as OLLAMA_HOST is read: any part may be missing, and a port that is none is passed over.

        Raises BadInput for what is no host, another scheme, or a password.
        """
        text = text.strip().strip("\"'").strip()
        scheme, _, rest = text.rpartition("://")
        default_port = {"http": 80, "https": 443}.get(scheme, DEFAULT_PORT)
        if scheme not in ("", "http", "https"):
            raise BadInput(f"invalid address {text!r}", hint="Write host:port or http://host:port.")
        rest, _, path = rest.partition("/")
        if "@" in rest:  # and do not repeat it
            raise BadInput("an address holds no user or password", hint="Put the key in HUTCH_API_KEY.")
        if not scheme and rest == "ollama.com":
            scheme, default_port = "https", 443
        host, port = rest, ""
        if match := re.fullmatch(r"\[(.*)\](?::([^:]*))?|([^:]*):([^:]*)", rest):
            host = match[1] if match[1] is not None else match[3]
            port = (match[2] if match[1] is not None else match[4]) or ""
        if not (_is_ipv6(host) if ":" in host else _HOST.fullmatch(host)):
            raise BadInput(f"invalid address {text!r}", hint="Write host:port or http://host:port.")
        is_port = re.fullmatch("[0-9]{1,5}", port) is not None and int(port) <= 65535
        remark = f"{port!r} is no port, so {default_port} is used" if port and not is_port else ""
        number = int(port) if is_port else default_port
        where = host if host or port else "127.0.0.1"
        return cls(scheme or "http", where, number, f"/{path}".rstrip("/"), remark)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host in ("localhost", "::1") or bool(_LOOPBACK.fullmatch(self.host))

    @property
    def for_client(self) -> "Address":
        """The address to connect to where a server listens on every interface."""
        everywhere = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
        return Address(self.scheme, everywhere.get(self.host, self.host), self.port, self.path)

    @property
    def url(self) -> str:
        """As a URL, without a slash at its end."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path}"


def server_address() -> Address:
    """Where the server listens, and where clients look for it. Raises BadInput with the variable's name."""
    name = first_set(*CLIENT_VARIABLES["HOST"])
    try:
        address = Address.parse(variable(name))
    except BadInput as error:
        raise BadInput(f"{name}: {error.message}", hint=error.hint) from None
    if address.remark:
        address.remark = f"{name}: {address.remark}"
    return address


def hugging_face() -> tuple[str, str]:
    """Where Hugging Face is, or its mirror, and the token for it; by the names that its own tools have for both."""
    endpoint = variable("HF_ENDPOINT") or "https://huggingface.co"
    return endpoint.rstrip("/"), variable("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")


def log_file(short_name: str) -> Path:
    """The log of a model's worker."""
    return home() / "logs" / (re.sub(r"[/:]", "_", short_name) + ".log")


def server_log() -> Path:
    """The log of a server that `hutch run` started."""
    return home() / "logs" / "server.log"


_FOR_THE_SERVER = (
    "AUTH",
    "CATALOG",
    "CONTEXT_LENGTH",
    "DEBUG",
    "FLASH_ATTENTION",
    "GPU_OVERHEAD",
    "HARDWARE",
    "KEEP_ALIVE",
    "KEY_FILE",
    "KNOWLEDGE_MODEL",
    "KV_CACHE_TYPE",
    "LLAMA_QUANTIZE",
    "LLAMA_SERVER",
    "LOAD_TIMEOUT",
    "MAX_BLOB_GIB",
    "MAX_BODY_MIB",
    "MAX_KV_CACHE",
    "MAX_KV_DISK",
    "MAX_LOADED_MODELS",
    "MAX_QUEUE",
    "MAX_VRAM",
    "MODELS",
    "NUM_GPU",
    "NUM_PARALLEL",
    "NUM_THREAD",
    "ONNX_RUNNER",
    "ORIGINS",
    "PRELOAD",
    "PRELOAD_PORT",
    "REGISTRY",
)
_NOT_OLLAMAS = (
    "AUTH",  # which steers Ollama's clients
    "CATALOG",
    "HARDWARE",
    "KEY_FILE",
    "MAX_KV_DISK",
    "ONNX_RUNNER",
    "PRELOAD",
    "PRELOAD_PORT",
    "REGISTRY",
)
_FOR_ITS_DEVICES = (
    "CUDA_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
    "GGML_VK_VISIBLE_DEVICES",
    "GPU_DEVICE_ORDINAL",
    "HSA_OVERRIDE_GFX_VERSION",
)


def server_settings() -> dict[str, str]:
    """The environment variables set here that only a server heeds, with their values."""
    ours = (f"{prefix}_{name}" for name in _FOR_THE_SERVER for prefix in ("HUTCH", "OLLAMA", "FOUNDRY"))
    theirs = [f"OLLAMA_{name}" for name in _NOT_OLLAMAS]
    theirs += [f"FOUNDRY_{name}" for name in _FOR_THE_SERVER if name != "HARDWARE"]
    foundrys = (name for names in FOUNDRY_VARIABLES.values() for name in names if variable(name))
    named = (
        *(name for name in ours if variable(name) and name not in theirs),
        *foundrys,
        *device_variables(),
    )
    return {name: os.environ[name] for name in named}


def server_note(port: int) -> Path:
    """Where a server that listens on this port writes down its process and which of these variables it has."""
    return home() / "servers" / f"{port}.json"


def device_variables() -> tuple[str, ...]:
    """The variables set here that choose devices for workers; an empty one means: none of them."""
    return tuple(name for name in _FOR_ITS_DEVICES if name in os.environ)


def own_variables() -> tuple[str, ...]:
    """The variables set here that begin as Hutch's or Ollama's do."""
    return tuple(name for name in sorted(os.environ) if name.startswith(("HUTCH_", "OLLAMA_")))


def server_environment() -> dict[str, str]:
    """The environment for a server that is started from here: its folders are the ones that are meant here."""
    return {**os.environ, "HUTCH_HOME": str(home()), "HUTCH_MODELS": str(models())}


_FOR_WORKERS = re.compile(
    r"PATH|HOME|USER|LANG|LC_.*|TZ|TMPDIR|TEMP|TMP|SYSTEMROOT|LD_LIBRARY_PATH|DYLD_.*|PYTHON.*|VIRTUAL_ENV|"
    r"(CUDA|HIP|ROCR|ROCM|HSA|GPU|GGML|OMP|GOMP|KMP|MKL|VK|LLAMA)_.*"
)


def worker_environment() -> dict[str, str]:
    """What a worker process gets of this environment: nothing that could be secret, for it reads files from anywhere.

    ONNX Runtime's wheels send telemetry unless they are told not to before they are imported.
    """
    kept = {name: value for name, value in os.environ.items() if _FOR_WORKERS.fullmatch(name)}
    return {**kept, "ORT_DISABLE_TELEMETRY": "1"}


def socket_parents() -> tuple[Path, ...]:
    """Where the folder of the workers' sockets may lie, best first: sockets need short paths."""
    runtime = variable("XDG_RUNTIME_DIR")
    tempfile = importlib.import_module("tempfile")  # 6 ms, which `hutch list` must not pay
    return (*((Path(runtime),) if runtime else ()), Path(tempfile.gettempdir()), Path("/tmp"))  # noqa: S108
