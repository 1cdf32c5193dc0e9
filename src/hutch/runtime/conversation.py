"""What a worker is asked for a request: which messages, by which template, and what to drop. Pure."""

import logging
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hutch.core.chat import Form, GenerateRequest, Image, Message, Sampling
from hutch.core.errors import BadInput, NotBuilt
from hutch.core.models import Model
from hutch.core.options import split_options
from hutch.engines.wire import (
    CHAT_PATH,
    ENGINE_DEFAULTS,
    RENDER_PATH,
    TEXT_PATH,
    chat_body,
    completion_body,
    render_body,
)
from hutch.formats.facts import Facts
from hutch.prompt import call_ids, jinja
from hutch.prompt import template as templates
from hutch.prompt.answer import Marks
from hutch.prompt.capabilities import capabilities
from hutch.prompt.knowledge import Knowledge


@dataclass(frozen=True, slots=True)
class Job:
    """One call of a worker. `prompt` is what a slot remembers, to be recognised by.

    With RENDER_PATH it is the first of two calls: the engine renders the conversation, and `text_job` makes the second.
    The text that answers TEXT_PATH is taken apart by `marks`.
    """

    path: str
    body: Mapping[str, Any]
    prompt: str
    images: tuple[Image, ...] = ()  # where `mark` stands in the prompt of a TEXT_PATH
    mark: str = ""
    marks: Marks | None = None
    thoughts: tuple[str, str] | None = (
        None  # the tags of thoughts that come first, where a format follows them
    )


@dataclass(frozen=True, slots=True)
class Voice:
    """How a loaded model is spoken to. `template` is None where the file's own is rendered: `jinja`, or by the engine."""

    model: Model
    facts: Facts
    template: templates.Template | None
    complaint: BadInput | None  # why its TEMPLATE cannot be used, where nothing else can
    jinja: jinja.ChatTemplate | None  # the file's own, where it is plain
    knowledge: Knowledge | None = None  # of the model's documents


_log = logging.getLogger(__name__)
_HARMONY = (
    "gptoss",
    "gpt-oss",
)  # what they write has more parts than a TEMPLATE can tell: the engine knows them
_THINK = ("<think>", "</think>")
# For models that were not made for conversations: they go on with the text.
_PLAIN = templates.parse("{{ if .System }}{{ .System }}\n\n{{ end }}{{ .Prompt }}")


def voice_of(model: Model, facts: Facts) -> Voice:
    """Decide once, when a model is loaded, which template it is to be rendered with."""
    own = facts.chat_template
    plain = jinja.plain(own)
    knowledge = Knowledge(model.documents) if model.documents else None
    # What a RENDERER stands for is made from the template in the file, and in Ollama too it goes before TEMPLATE, which is
    # then often no more than the prompt as it stands.
    is_moot = own and (facts.architecture in _HARMONY or model.renderer)
    if model.template is None or is_moot:
        return Voice(model, facts, None if own else _PLAIN, None, plain, knowledge)
    try:
        return Voice(model, facts, templates.parse(model.template), None, plain, knowledge)
    except BadInput as error:
        if not own:
            return Voice(model, facts, None, error, None, knowledge)
        _log.warning("%s: using the template inside the file: %s", model.name.short, error.message)
        return Voice(model, facts, None, None, plain, knowledge)


def sampling_of(request: GenerateRequest, model: Model) -> Sampling:
    """The request's values over the model's own over the dialect's over Hutch's."""
    own, _ = split_options(model.parameters)
    return request.sampling.over(own).over(request.dialect_defaults).over(ENGINE_DEFAULTS)


def conversation(request: GenerateRequest, model: Model) -> tuple[Message, ...]:
    """The request's messages with the model's own SYSTEM and MESSAGEs before them; a `context` has had these MESSAGEs."""
    said = request.messages or ()
    own = () if request.context else tuple(Message(m["role"], m["content"]) for m in model.messages)
    if said and said[0].role == "system":
        return (said[0], *own, *said[1:])
    if model.system:
        return (Message("system", model.system), *own, *said)
    return own + said


def job_for(request: GenerateRequest, voice: Voice, messages: Sequence[Message]) -> Job:
    """The worker's call that answers this request. Raises BadInput where the model cannot do it."""
    template = templates.parse(request.template) if request.template else voice.template
    if not request.needs_thinking and "thinking" not in capabilities(voice.facts, template):
        request = replace(request, think=None)
    _check(request, voice, template)
    if request.prompt is not None:
        prompt = _infill(request, voice, template) if request.suffix else request.prompt
        text = prompt if isinstance(prompt, str) else ""
        return Job(TEXT_PATH, completion_body(prompt, request, sampling_of(request, voice.model)), text)
    if template is not None and (request.template or _suffices(template, request)):
        return _templated(request, voice, messages, template)
    if voice.complaint is not None:
        raise voice.complaint
    messages = call_ids.fitting(messages, voice.facts.chat_template)
    key = "\0".join(f"{message.role}\1{hash(message.images)}\1{message.content}" for message in messages)
    can = capabilities(voice.facts)
    if "thinking" in can:
        request = replace(request, think=_level(request.think, voice))
        if isinstance(request.response_format, Form):  # which no engine keeps off the thoughts
            images, mark, said = _marked(messages)
            body = render_body([replace(each, images=()) for each in said], request.think)
            return Job(RENDER_PATH, body, key, images, mark, thoughts=_THINK)
    if request.tools or "thinking" in can or any(message.images for message in messages):
        marks = Marks(_THINK) if request.think else None
        body = chat_body(messages, request, sampling_of(request, voice.model))
        return Job(CHAT_PATH, body, key, marks=marks)
    # An answer that is nothing but text is not to be parsed: the engine would do so anew with every token.
    if voice.jinja is not None and voice.jinja.can_render(messages):
        return text_job(request, voice, voice.jinja.render(messages))
    return Job(RENDER_PATH, render_body(messages), key)


def closed_job(request: GenerateRequest, voice: Voice, messages: Sequence[Message]) -> Job:
    """The worker's call for a conversation up to the end of its last message. Raises NotBuilt where a TEMPLATE renders it."""
    if request.template or voice.template is not None:
        raise NotBuilt(
            "add_generation_prompt: a TEMPLATE always goes on to where the answer begins",
            hint="Leave it out, or use a model that is rendered by the template inside its file.",
            param="add_generation_prompt",
        )
    _check(request, voice, None)
    body = chat_body(messages, request, sampling_of(request, voice.model))
    return Job(RENDER_PATH, {**body, "add_generation_prompt": False}, "")


def _marked(messages: Sequence[Message]) -> tuple[tuple[Image, ...], str, Sequence[Message]]:
    """All images in order, and the messages with a mark for each that nobody could have written."""
    mark = f"[img-{secrets.token_hex(8)}]"
    images = tuple(image for message in messages for image in message.images)
    said = [replace(each, content=mark * len(each.images) + each.content) for each in messages]
    return images, mark, said


def text_job(request: GenerateRequest, voice: Voice, rendered: str, marks: Marks | None = None) -> Job:
    """The call for a rendered prompt, with `request.context`, tokens of an earlier exchange, before it."""
    prompt: Sequence[int | str] = (*request.context, rendered) if request.context else rendered
    body = completion_body(prompt, request, sampling_of(request, voice.model))
    if marks is not None:
        body["preserved_tokens"] = marks.tokens
    return Job(TEXT_PATH, body, rendered, marks=marks)


def rendered_job(request: GenerateRequest, voice: Voice, text: str, job: Job) -> Job:
    """The second call, with what the engine made of the conversation in the first."""
    return replace(_after(request, voice, text, job), images=job.images, mark=job.mark)


def _after(request: GenerateRequest, voice: Voice, text: str, job: Job) -> Job:
    if job.thoughts is None:
        return text_job(request, voice, text, job.marks)
    if request.think is False and not text.rstrip().endswith(job.thoughts[0]):
        return text_job(request, voice, text)
    thinking = text_job(replace(request, response_format=None), voice, text, Marks(job.thoughts))
    return replace(thinking, marks=None, thoughts=job.thoughts)


def _suffices(template: templates.Template, request: GenerateRequest) -> bool:
    """Whether this TEMPLATE does all that is asked for; else the file's own template may."""
    return (
        (template.has_tools or not request.tools)
        and (template.has_thinking or not request.think)
        and not (request.tools and request.tool_choice == "required")
    )


def _templated(
    request: GenerateRequest, voice: Voice, messages: Sequence[Message], template: templates.Template
) -> Job:
    """The call for a prompt by a TEMPLATE. What comes back is taken apart by the template's own marks."""
    if template.has_thinking:
        request = replace(request, think=_level(request.think, voice))
    elif request.response_format and not request.think:
        request = replace(request, think=False)
    tags = template.thinking_tags if template.has_thinking else _THINK
    thinks = "thinking" in capabilities(voice.facts, template) and request.think is not False
    marks = Marks(
        thinking=tags if thinks else None,
        tools=frozenset(tool["function"]["name"] for tool in request.tools),
        marker=template.tool_marker,
        max_calls=1 if request.parallel_tool_calls is False else None,
    )
    images, mark, messages = (
        _marked(messages) if any(each.images for each in messages) else ((), "", messages)
    )
    text = template.render(messages, request.tools, request.think)
    if marks.thinking and request.response_format:
        job = text_job(replace(request, response_format=None), voice, text, marks)
        job = replace(job, thoughts=marks.thinking, marks=replace(marks, thinking=None))
    else:
        job = text_job(request, voice, text, marks if marks.thinking or marks.tools else None)
    return replace(job, images=images, mark=mark)


def _level(think: bool | str | None, voice: Voice) -> bool | str:
    """Whether a model that can think is to, and how much."""
    if think == "max" and voice.facts.architecture in _HARMONY:
        return "high"  # the most that it knows
    return True if think is None else think


def _infill(request: GenerateRequest, voice: Voice, template: templates.Template | None) -> str:
    """The prompt that asks for what stands between two texts."""
    if not isinstance(request.prompt, str):
        raise BadInput("suffix: it needs a prompt of text", param="suffix")
    if template is not None and template.has_suffix:
        return template.fill(request.prompt, request.suffix)
    if voice.facts.fim is None:
        raise BadInput(
            f"{voice.model.name.short.removesuffix(':latest')} does not support insert",
            hint="Use a model that was trained to fill in the middle, or leave `suffix` out.",
            param="suffix",
        )
    before, after, middle = voice.facts.fim
    return f"{before}{request.prompt}{after}{request.suffix}{middle}"


def shortened(messages: Sequence[Message], tokens: int, num_ctx: int) -> tuple[Message, ...] | None:
    """The conversation without its oldest turns, to fit a context of which a quarter stays for the answer.

    System messages and the last message stay. None where nothing is left to drop. `tokens` is what the whole
    conversation takes; a turn's part of it is judged by its share of the characters.
    """
    droppable = [i for i, message in enumerate(messages[:-1]) if message.role != "system"]
    if not droppable or not tokens:
        return None
    characters = sum(map(_num_chars, messages))
    excess = characters * (1 - 0.75 * num_ctx / tokens)
    dropped: set[int] = set()
    for index in droppable:
        if excess <= 0 and dropped:
            break
        excess -= _num_chars(messages[index])
        dropped.add(index)
    return tuple(message for i, message in enumerate(messages) if i not in dropped)


def _num_chars(message: Message) -> int:
    """About as many characters as a turn takes of the context; an image counts as 768 tokens, as Ollama counts it."""
    return len(message.content) + 16 + 4 * 768 * len(message.images)


def _is_empty_turn(message: Message) -> bool:
    """Whether this is an assistant's turn in which it said and did nothing."""
    return message.role == "assistant" and not (message.content or message.thinking or message.tool_calls)


def _check(request: GenerateRequest, voice: Voice, template: templates.Template | None) -> None:
    can = capabilities(voice.facts, template, has_projector=bool(voice.model.projectors))
    name = voice.model.name.short.removesuffix(":latest")
    if "completion" not in can:
        asked = "generate" if request.prompt is not None or request.want_context else "chat"
        raise BadInput(f'"{name}" does not support {asked}')
    if request.messages and all(_is_empty_turn(message) for message in request.messages):
        raise BadInput(
            "messages: there is nothing to answer", hint="Say something in them.", param="messages"
        )
    if "vision" not in can and any(message.images for message in request.messages or ()):
        raise BadInput(
            f'"{name}" does not support vision', hint="Use a model with a projector, or leave images out."
        )
    if request.think and "thinking" not in can:
        raise BadInput(
            f'"{name}" does not support thinking',
            hint="Leave `think` out, or use a model that thinks.",
            param="think",
        )
    if request.tools and "tools" not in can:
        raise BadInput(
            f"{name} does not support tools",
            hint="Use a model whose chat template has tools, or leave `tools` out.",
            param="tools",
        )
    own = capabilities(voice.facts)
    if request.tool_choice == "required" and "tools" not in own:
        raise NotBuilt(
            "tool_choice: a model whose tools are in its TEMPLATE cannot be made to call one",
            hint="Say auto, or leave `tool_choice` out.",
            param="tool_choice",
        )
