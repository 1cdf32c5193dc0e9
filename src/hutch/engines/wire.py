"""The wire's two languages: requests into a worker's JSON, its events into chunks. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from hutch.core.chat import (
    Chunk,
    FinishReason,
    Form,
    GenerateRequest,
    Image,
    JsonObject,
    Message,
    Sampling,
    TokenLogprob,
    ToolCall,
    Usage,
)
from hutch.prompt.schema import ANY_OBJECT

# Ollama's defaults, said in full because the engine's own differ.
ENGINE_DEFAULTS = Sampling(
    temperature=0.8,
    top_k=40,
    top_p=0.9,
    min_p=0.0,
    typical_p=1.0,
    repeat_last_n=64,
    repeat_penalty=1.0,
    presence_penalty=0.0,
    frequency_penalty=0.0,
    seed=-1,
    max_tokens=-1,
    num_keep=4,
)

# llama-server's probabilities have 32 bits: what is less likely has the probability 0 there, and no logarithm.
_LEAST_LOGPROB = -104.0

# llguidance lets any white space stand between the signs of JSON, and a small model may write nothing else to the end of
# its answer. So JSON is written in one line, as OpenAI's is. Where llama.cpp parses the answer, its own grammar has little space too.
_IN_A_LINE: Mapping[str, Any] = {
    "x-guidance": {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
}

CHAT_PATH = "/v1/chat/completions"  # the engine renders the file's template, and parses the answer by it
RENDER_PATH = "/apply-template"  # the engine renders the file's template, and no more
TEXT_PATH = "/completion"  # the prompt goes in as it stands

JsonDict = dict[str, Any]


def chat_body(messages: Sequence[Message], request: GenerateRequest, sampling: Sampling) -> JsonDict:
    """The body of `/v1/chat/completions`: the engine renders the model's own template and parses the answer."""
    body = _sampling(sampling)
    body |= render_body(messages, request.think)
    body["stream_options"] = {"include_usage": True}
    if request.top_logprobs is not None:
        body["logprobs"] = True
        body["top_logprobs"] = max(1, request.top_logprobs)  # for 0 the engine would send none at all
    if request.tools:
        body["tools"] = list(request.tools)
        body["parallel_tool_calls"] = bool(request.parallel_tool_calls)
        if request.tool_choice is not None:
            body["tool_choice"] = request.tool_choice
    if isinstance(request.response_format, Form):
        body["grammar"] = request.response_format.grammar
    elif request.response_format is not None:
        schema = _schema(request.response_format)
        body["response_format"] = {"type": "json_schema", "json_schema": {"schema": schema}}
    return body


def render_body(messages: Sequence[Message], think: bool | str | None = None) -> JsonDict:
    """The body of `/apply-template`. `think`: whether the model is to, and how much; None where it cannot."""
    body: JsonDict = {"messages": [_message(message) for message in messages]}
    if think is not None:
        body["chat_template_kwargs"] = {"enable_thinking": bool(think)}
    if isinstance(think, str):
        body["chat_template_kwargs"]["reasoning_effort"] = think
    return body


def completion_body(
    prompt: str | Sequence[int | str], request: GenerateRequest, sampling: Sampling
) -> JsonDict:
    """The body of `/completion`: the prompt goes to the model as it stands."""
    body = _sampling(sampling)
    body["prompt"] = prompt
    if request.top_logprobs is not None:
        body["n_probs"] = max(1, request.top_logprobs)
    if isinstance(request.response_format, Form):
        body["grammar"] = request.response_format.grammar
    elif request.response_format is not None:
        body["json_schema"] = _schema(request.response_format)
    return body


def chat_chunk(event: Mapping[str, Any], top_logprobs: int | None) -> Chunk:
    """An event of `/v1/chat/completions` as a chunk. The last event carries the usage.

    What stopped the answer is told by Hutch's own worker, and not by llama-server.
    """
    choices = event.get("choices")
    choice = choices[0] if choices else {}
    delta = choice.get("delta") or {}
    return Chunk(
        text=delta.get("content") or "",
        thinking=delta.get("reasoning_content") or "",
        tool_calls=tuple(_tool_call(call) for call in delta.get("tool_calls") or ()),
        logprobs=token_logprobs((choice.get("logprobs") or {}).get("content"), top_logprobs),
        finish_reason=choice.get("finish_reason"),
        stopped_by=event.get("stopping_word") or "",
        usage=_usage(event["timings"]) if "timings" in event else None,
    )


def completion_chunk(event: Mapping[str, Any], top_logprobs: int | None) -> Chunk:
    """An event of `/completion` as a chunk. The last event has `stop`, and so finish reason and usage."""
    finish: FinishReason | None = None
    if event.get("stop"):
        finish = "length" if event.get("stop_type") == "limit" else "stop"
    return Chunk(
        text=event.get("content") or "",
        logprobs=token_logprobs(event.get("completion_probabilities"), top_logprobs),
        finish_reason=finish,
        stopped_by=event.get("stopping_word") or "",
        usage=_usage(event["timings"]) if finish and "timings" in event else None,
    )


def several(body: Mapping[str, Any], first: int, num: int) -> JsonDict:
    """A body that asks for `num` answers, of which the first is that of the number `first`: each has a seed of its own."""
    said = dict(body)
    if num > 1:
        said["n_cmpl"] = num
    if first and said["seed"] >= 0:
        said["seed"] = (said["seed"] + first) % (1 << 32)
    return said


def choice_of(event: Mapping[str, Any]) -> int | None:
    """Which of several answers an event belongs to. None: that of the event before."""
    choices = event.get("choices")
    if choices is None:
        return int(event.get("index", 0))
    return int(choices[0].get("index", 0)) if choices else None


def with_pictures(body: Mapping[str, Any], images: Sequence[Image], mark: str, marker: str) -> JsonDict:
    """The body of `/completion` with images where `mark` stands in the prompt. `marker` is the engine's own mark."""
    prompt = {
        "prompt_string": body["prompt"].replace(mark, marker),
        "multimodal_data": [image.base64 for image in images],
    }
    return {**body, "prompt": prompt}


def _schema(asked: str | JsonObject) -> JsonDict:
    return {**_IN_A_LINE, **(ANY_OBJECT if isinstance(asked, str) else asked)}


def _sampling(sampling: Sampling) -> JsonDict:
    body: JsonDict = {
        "stream": True,
        "temperature": sampling.temperature,
        "top_k": max(0, sampling.top_k) if sampling.top_k is not None else None,  # -1 is another word for all
        "top_p": sampling.top_p,
        "min_p": sampling.min_p,
        "typical_p": sampling.typical_p,
        "repeat_last_n": sampling.repeat_last_n,
        "repeat_penalty": sampling.repeat_penalty,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "seed": sampling.seed,
        "n_predict": max(-1, sampling.max_tokens) if sampling.max_tokens is not None else None,
        "n_keep": sampling.num_keep,
    }
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    if sampling.logit_bias:
        body["logit_bias"] = [list(pair) for pair in sampling.logit_bias]
    return body


def _message(message: Message) -> JsonDict:
    said: JsonDict = {"role": message.role, "content": message.content}
    if message.images:
        pictures = [
            {"type": "image_url", "image_url": {"url": f"data:{image.media_type};base64,{image.base64}"}}
            for image in message.images
        ]
        said["content"] = [*pictures, {"type": "text", "text": message.content}]
    if message.thinking:
        said["reasoning_content"] = message.thinking
    if message.tool_calls:
        said["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if message.tool_call_id:
        said["tool_call_id"] = message.tool_call_id
    if message.tool_name:
        said["name"] = message.tool_name
    return said


def _tool_call(call: Mapping[str, Any]) -> ToolCall:
    function = call.get("function") or {}
    return ToolCall(
        index=int(call.get("index", 0)),
        id=call.get("id") or "",
        name=function.get("name") or "",
        arguments=function.get("arguments") or "",
    )


def token_logprobs(entries: Sequence[Mapping[str, Any]] | None, top: int | None) -> tuple[TokenLogprob, ...]:
    """What a worker tells of tokens, each with the `top` likeliest in its place; None: all that it tells."""
    return tuple(
        TokenLogprob(
            token=_token_text(entry),
            logprob=max(entry["logprob"], _LEAST_LOGPROB),
            bytes=tuple(entry.get("bytes") or ()),
            top=token_logprobs((entry.get("top_logprobs") or ())[:top], None),
        )
        for entry in entries or ()
    )


def _token_text(entry: Mapping[str, Any]) -> str:
    """A token as text. llama-server leaves out what is no whole character; U+FFFD says that there is something."""
    return bytes(entry.get("bytes") or ()).decode(errors="replace") or str(entry["token"])


def _usage(timings: Mapping[str, Any]) -> Usage:
    cached = int(timings.get("cache_n", 0))
    return Usage(
        prompt_tokens=cached + int(timings.get("prompt_n", 0)),
        cached_tokens=cached,
        completion_tokens=int(timings.get("predicted_n", 0)),
        prompt_s=timings.get("prompt_ms", 0.0) / 1000,
        decode_s=timings.get("predicted_ms", 0.0) / 1000,
    )


def piece_bytes(piece: str | Sequence[int]) -> bytes:
    """A token's piece as llama-server writes it: a text, or where it is no whole character its bytes."""
    return piece.encode() if isinstance(piece, str) else bytes(piece)
