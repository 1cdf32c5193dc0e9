"""The bodies of `/api/tasks/…` and their replies. A field that a task does not have is an error, for it would do nothing."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from hutch.api.images import checked_address
from hutch.api.limits import checked_schema
from hutch.api.ollama_wire import model_name, options_of
from hutch.api.route import Wire
from hutch.core.chat import Image
from hutch.core.durations import parse_keep_alive_s
from hutch.core.errors import BadInput
from hutch.tasks import questions
from hutch.tasks.asking import Asked
from hutch.tasks.pictures import MAX_SIDE
from hutch.tasks.questions import Question
from hutch.tasks.redaction import RULES, Rule

MAX_TEXT_CHARS = 256 << 10  # more than the contexts of most models hold; rules take 2 s for it at worst
_MAX_WORDS = 2000

Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"\S")]
Phrase = Annotated[str, Field(min_length=1, max_length=1000, pattern=r"\S")]


class TaskBody(Wire):
    """What every task takes."""

    model_config = ConfigDict(extra="forbid")


class Model(TaskBody):
    """What every task takes that asks a model."""

    model: str
    keep_alive: Any = None
    options: dict[str, Any] | None = None

    def asked(self) -> Asked:
        """Which model, and how. Raises BadInput and NotFound."""
        sampling, load = options_of(self.options)
        return Asked(model_name(self.model), sampling, load, parse_keep_alive_s(self.keep_alive))


class _Text(TaskBody):
    text: str = Field(max_length=MAX_TEXT_CHARS)

    def given(self) -> str:
        """The text. Raises BadInput where there is none."""
        if not self.text.strip():
            raise BadInput("text: it is empty", hint="Send the text that the task is about.", param="text")
        return self.text


class Summarize(_Text, Model):
    """`POST /api/tasks/summarize`."""

    max_words: int = Field(100, ge=1, le=_MAX_WORDS)
    language: Name | None = None

    def question(self) -> Question:
        """What the model is asked. Raises BadInput, as all of these do."""
        return questions.summarize(self.given(), self.max_words, self.language)


class Rewrite(_Text, Model):
    """`POST /api/tasks/rewrite`."""

    style: Phrase = "clear and simple"

    def question(self) -> Question:
        """What the model is asked."""
        return questions.rewrite(self.given(), self.style)


class Translate(_Text, Model):
    """`POST /api/tasks/translate`."""

    to: Name
    source: Name | None = None

    def question(self) -> Question:
        """What the model is asked."""
        return questions.translate(self.given(), self.to, self.source)


class Classify(_Text, Model):
    """`POST /api/tasks/classify`."""

    labels: list[Name] = Field(max_length=256)

    def question(self) -> Question:
        """What the model is asked."""
        if len(set(self.labels)) < 2:
            raise BadInput(
                "labels: at least two different ones are needed",
                hint='Name them: "labels": ["praise", "complaint"].',
                param="labels",
            )
        return questions.classify(self.given(), list(dict.fromkeys(self.labels)))


class Extract(_Text, Model):
    """`POST /api/tasks/extract`: `fields` are names, or names with what they mean; `schema` is a JSON Schema in their place."""

    fields: list[Name] | dict[Name, str] | None = Field(None, max_length=64)
    schema_: dict[str, Any] | None = Field(None, alias="schema")

    def question(self) -> Question:
        """What the model is asked."""
        if bool(self.fields) == bool(self.schema_):
            raise BadInput(
                "either fields or schema is needed",
                hint='Name what is wanted: "fields": ["name", "date"].',
                param="fields",
            )
        if self.schema_:
            return questions.extract_as(self.given(), checked_schema(self.schema_, "schema"))
        fields = self.fields or {}
        return questions.extract(
            self.given(), fields if isinstance(fields, dict) else dict.fromkeys(fields, "")
        )


class Table(_Text, Model):
    """`POST /api/tasks/table`: without `columns`, the model chooses them first."""

    columns: list[Name] | None = Field(None, min_length=1, max_length=64)

    def named(self) -> list[str] | None:
        """The columns. Raises BadInput where one is there twice."""
        if self.columns and len(set(self.columns)) < len(self.columns):
            raise BadInput("columns: a name is there twice", param="columns")
        return self.columns


class Redact(_Text):
    """`POST /api/tasks/redact`: `rules` find by form, `names` are kinds of things that a model is asked for."""

    rules: list[Rule] = Field(list(RULES))
    names: list[Name] = Field([], max_length=16)
    model: str | None = None
    keep_alive: Any = None
    options: dict[str, Any] | None = None

    def asked(self) -> Asked | None:
        """Which model, where one is to be asked. Raises BadInput."""
        if not self.names and not self.rules:
            raise BadInput("rules and names are both empty", hint="Leave rules out.", param="rules")
        if not self.names:
            return None
        if not self.model:
            raise BadInput(
                "names: they are found by a model, and none is named",
                hint='Name a model in the field "model".',
                param="model",
            )
        return Model(model=self.model, keep_alive=self.keep_alive, options=self.options).asked()


class _Picture(TaskBody):
    image: str

    def seen(self) -> Image:
        """The image. Raises BadInput for what is none."""
        return checked_address(self.image, "image")


class Describe(_Picture, Model):
    """`POST /api/tasks/describe`: for models that see."""

    prompt: Phrase | None = None
    max_words: int = Field(100, ge=1, le=_MAX_WORDS)

    def question(self) -> Question:
        """What the model is asked."""
        return questions.describe(self.seen(), self.prompt, self.max_words)


class Ocr(_Picture):
    """`POST /api/tasks/ocr`."""


class Enhance(_Picture):
    """`POST /api/tasks/enhance`: one side alone keeps the picture's proportions."""

    width: int | None = Field(None, ge=1, le=MAX_SIDE)
    height: int | None = Field(None, ge=1, le=MAX_SIDE)
    scale: float | None = Field(None, ge=0.01, le=16)
    denoise: bool = False
    contrast: bool = False
    sharpen: bool = False
    format: Literal["png", "jpeg", "webp"] = "png"

    def wanted(self) -> dict[str, Any]:
        """What is to be done. Raises BadInput where two fields say different sizes."""
        if self.scale and (self.width or self.height):
            raise BadInput(
                "scale: width or height says it already", hint="Leave one of them out.", param="scale"
            )
        return self.model_dump(exclude={"image"})


class _Counted(BaseModel):
    model: str
    prompt_eval_count: int
    eval_count: int
    total_duration: int = Field(description="in nanoseconds")


class Summary(_Counted):
    """Of `summarize`."""

    summary: str


class NewText(_Counted):
    """Of `rewrite` and `translate`."""

    text: str


class Label(_Counted):
    """Of `classify`."""

    label: str


class Extracted(_Counted):
    """Of `extract`."""

    data: Any


class Tabled(_Counted):
    """Of `table`."""

    columns: list[str]
    rows: list[list[str | None]]


class Description(_Counted):
    """Of `describe`."""

    description: str


class Found(BaseModel):
    """A part of the text, by its characters, and what found it."""

    kind: str
    start: int
    end: int
    by: Literal["rule", "model"]


class Redacted(BaseModel):
    """Of `redact`. Counts are there where a model was asked."""

    text: str
    found: list[Found]
    model: str | None = None
    prompt_eval_count: int = 0
    eval_count: int = 0
    total_duration: int = 0


class Line(BaseModel):
    """A piece of text in one line, with its corners in pixels from the top left."""

    text: str
    confidence: float
    box: list[list[int]]


class Read(BaseModel):
    """Of `ocr`."""

    text: str
    lines: list[Line]


class Enhanced(BaseModel):
    """Of `enhance`."""

    image: str = Field(description="in base64")
    media_type: str
    width: int
    height: int
