"""The server's settings: `hutch.toml` below the environment below flags."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ByteSize, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from hutch import places
from hutch.core.deployment import DEFAULT_PORT
from hutch.core.durations import FOREVER, parse_keep_alive_s
from hutch.core.errors import BadInput
from hutch.core.hardware import parse_hardware
from hutch.core.names import ModelName
from hutch.core.sizes import whole_size

KvType = Literal["auto", "f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"]


def _duration_s(value: object) -> object:
    try:
        if isinstance(value, str) and value.lstrip("-").isdigit():
            return parse_keep_alive_s(int(value))  # OLLAMA_KEEP_ALIVE=300 means seconds
        return parse_keep_alive_s(value)
    except BadInput as error:
        raise ValueError(error.message) from error  # so that pydantic says which setting it is


def _model_name(value: object) -> object:
    try:
        if isinstance(value, str) and value:
            ModelName.parse(value)
    except BadInput as error:
        raise ValueError(error.message) from error
    return value


def _timeout_s(value: object) -> object:
    return _duration_s(value) or FOREVER  # OLLAMA_LOAD_TIMEOUT=0 means none


def _comma_list(value: object) -> object:
    return (
        tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value
    )


def _catalogs(value: object) -> object:
    named = _comma_list(value)
    for each in named if isinstance(named, list | tuple) else ():
        scheme, colon, rest = str(each).partition("://")
        if colon and scheme.lower() not in ("http", "https"):
            raise ValueError("a catalog is a file, or an https address")
        if colon and "@" in rest.partition("/")[0]:  # and do not repeat it
            raise ValueError("the address of a catalog holds no user or password")
    return named


def _registry(value: object) -> object:
    text = str(value)
    if isinstance(value, str) and text and not _REGISTRY.fullmatch(text):
        raise ValueError("write host, host:port, or http://host:port for one without TLS")
    return value


def _hardware(value: object) -> object:
    try:
        return parse_hardware(value)
    except BadInput as error:
        raise ValueError(f"{error.message}. {error.hint}".rstrip(". ")) from error


_REGISTRY = re.compile(r"(https?://)?[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}(:[0-9]{1,5})?")
DurationS = Annotated[float, BeforeValidator(_duration_s)]
Size = Annotated[
    ByteSize, BeforeValidator(whole_size), Field(ge=0, le=1 << 50)
]  # 8G and 8GB are 8 * 10**9 bytes, 8GiB is 8 * 2**30
_OTHER_NAMES = {"num_gpu": ("gpu_layers",)}
_OTHER_PREFIXES = {
    "auth": ("HUTCH",),
    "catalog": ("HUTCH",),
    "registry": ("HUTCH",),
    "hardware": ("HUTCH", "FOUNDRY"),
    "key_file": ("HUTCH",),
    "max_kv_disk": ("HUTCH",),
    "onnx_runner": ("HUTCH",),
    "preload": ("HUTCH",),
    "preload_port": ("HUTCH",),
}  # OLLAMA_AUTH steers Ollama's clients


class Settings(BaseSettings):
    """What a server can be told. Each name is a key of `hutch.toml`, and a variable `HUTCH_NAME` or `OLLAMA_NAME`."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid")

    keep_alive: DurationS = 300.0
    load_timeout: Annotated[float, BeforeValidator(_timeout_s)] = 300.0  # 0: none
    max_loaded_models: Annotated[int, Field(ge=0)] = 0  # 0: three
    num_parallel: Annotated[int, Field(ge=0, le=256)] = 0  # 0: four, or what memory holds
    max_queue: Annotated[int, Field(ge=0)] = 512
    context_length: Annotated[int, Field(ge=0, le=1 << 24)] = (
        0  # 0: 4096, or the model's own where that is less
    )
    num_thread: Annotated[int, Field(ge=0, le=1024)] = (
        0  # 0: one for each physical core that this process may use
    )
    num_gpu: Annotated[int, Field(ge=-1, le=1 << 16)] = -1  # layers on the GPU; -1: as many as fit
    max_vram: Size = ByteSize(0)  # GPU memory for all loaded models together; 0: no bound
    max_kv_cache: Size = ByteSize(0)  # memory for the contexts of each ONNX model; 0: for all of them in full
    max_kv_disk: Size = ByteSize(2 << 30)  # disk for what contexts hold when their model goes; 0: none
    key_file: Path | None = None  # what that is sealed with; None: the keyring has it
    gpu_overhead: Size = ByteSize(0)  # to be left free on each GPU
    hardware: Annotated[
        tuple[str, ...], NoDecode, BeforeValidator(_hardware)
    ] = ()  # what to run models on, best first; none: what a model was made for, then the CPU
    onnx_runner: Literal["auto", "onnxruntime", "genai", "onnxruntime-genai"] = "auto"
    flash_attention: bool | None = None  # None: where the engine thinks it pays
    kv_cache_type: KvType = "auto"  # f16, or q8_0 where memory has no room for it
    origins: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_comma_list)] = ()
    auth: Literal["auto", "keys", "none"] = "auto"
    knowledge_model: Annotated[str, BeforeValidator(_model_name)] = (
        ""  # ranks passages of documents by meaning; "": the smallest embedding model that is there
    )
    preload: Annotated[str, BeforeValidator(_model_name)] = (
        ""  # a model to fetch, to load and to serve on preload_port when the server starts
    )
    preload_port: Annotated[int, Field(ge=1, le=65535)] = DEFAULT_PORT
    catalog: Annotated[
        tuple[str, ...], NoDecode, BeforeValidator(_catalogs)
    ] = ()  # files and addresses that are laid over Hutch's own, each over those before it
    registry: Annotated[str, BeforeValidator(_registry)] = ""  # a mirror of Ollama's registry to pull from
    llama_server: Path | None = None  # a llama-server binary to use instead of the built-in engine
    llama_quantize: Path | None = None  # a llama-quantize binary; None: the one beside llama_server
    max_body_mib: Annotated[int, Field(ge=1, le=4096)] = 64
    debug: bool = False  # a log of more
    max_blob_gib: Annotated[int, Field(ge=1, le=1 << 20)] = 512  # of one uploaded blob

    @property
    def cache_type(self) -> KvType:
        """What llama.cpp keeps contexts in where there is room: it has the small types with flash attention alone."""
        has_type = self.flash_attention is not False or self.kv_cache_type in ("f32", "f16", "bf16")
        return self.kv_cache_type if has_type and self.kv_cache_type != "auto" else "f16"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags, then HUTCH_*, then OLLAMA_*, then the file."""
        return init_settings, _Environment(settings_cls), _File(settings_cls)


class _Environment(PydanticBaseSettingsSource):
    """What variables say."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        variable = places.first_set(*variables(field_name))
        value = places.variable(variable) if variable else None
        if value and field.annotation in (bool, bool | None) and variable.startswith("OLLAMA_"):
            return places.is_true(value), field_name, False  # an odd word means yes
        return value, field_name, False

    def __call__(self) -> dict[str, Any]:
        values = {
            name: self.get_field_value(field, name)[0]
            for name, field in self.settings_cls.model_fields.items()
        }
        return {name: value for name, value in values.items() if value is not None}


class _File(TomlConfigSettingsSource):
    """What `hutch.toml` says."""

    def __init__(self, settings_cls: type[BaseSettings]) -> None:
        super().__init__(settings_cls, toml_file=file())


def file() -> Path:
    """The file of settings."""
    return places.home() / "hutch.toml"


def variables(name: str) -> tuple[str, ...]:
    """The variables that set it, the strongest first."""
    names = (name, *_OTHER_NAMES.get(name, ()))
    prefixes = _OTHER_PREFIXES.get(name, ("HUTCH", "OLLAMA"))
    own = tuple(f"{prefix}_{each.upper()}" for prefix in prefixes for each in names)
    return (*own, *places.FOUNDRY_VARIABLES.get(name, ()))


def origins() -> dict[str, str]:
    """Where the value of each setting comes from: a variable, the file, or `default`."""
    in_file = _File(Settings)()
    return {
        name: places.first_set(*variables(name)) or (str(file()) if name in in_file else "default")
        for name in Settings.model_fields
    }


def load(**flags: object) -> Settings:
    """Read the settings from all their places. Raises BadInput that names the setting."""
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        hint = f"Look at {file()}"
        if first["type"] != "extra_forbidden":  # which only a file can bring
            hint += f" and at the variables {' and '.join(variables(name))}"
        message = first["msg"].removeprefix("Value error, ")
        raise BadInput(f"setting {name!r}: {message}", hint=f"{hint}.") from error
    except ValueError as error:  # a file that is no TOML
        raise BadInput(f"{file()}: {error}", hint="Mend the file, or move it away.") from error
