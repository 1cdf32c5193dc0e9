"""What a worker is asked for a request."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hutch.core.chat import Form, GenerateRequest, Message, Sampling
from hutch.core.errors import BadInput
from hutch.engines.wire import CHAT_PATH, ENGINE_DEFAULTS, RENDER_PATH, TEXT_PATH
from hutch.prompt.answer import Marks
from hutch.runtime.conversation import (
    conversation,
    job_for,
    rendered_job,
    sampling_of,
    shortened,
    text_job,
    voice_of,
)
from tests.unit.runtime.things import JINJA, TINY, ask, facts, model, user

SYSTEM, OWN_SYSTEM = Message("system", "be kind"), Message("system", "be brief")
EXAMPLE = ({"role": "user", "content": "1"}, {"role": "assistant", "content": "2"})
EXAMPLES = (user("1"), Message("assistant", "2"))
TOOLS_ALONE = "{{ .Tools }}{{ .Messages }}"
TOOL = {"type": "function", "function": {"name": "f"}}


@pytest.mark.parametrize(
    ("own", "said", "merged"),
    [
        ({}, (user("hi"),), (user("hi"),)),
        ({}, (), ()),
        ({"system": "be brief"}, (user("hi"),), (OWN_SYSTEM, user("hi"))),
        ({"system": "be brief"}, (), (OWN_SYSTEM,)),
        ({"system": ""}, (user("hi"),), (user("hi"),)),
        ({"system": "be brief"}, (SYSTEM, user("hi")), (SYSTEM, user("hi"))),
        ({"messages": EXAMPLE}, (user("hi"),), (*EXAMPLES, user("hi"))),
        ({"messages": EXAMPLE}, (SYSTEM, user("hi")), (SYSTEM, *EXAMPLES, user("hi"))),
        ({"messages": EXAMPLE, "system": "be brief"}, (user("hi"),), (OWN_SYSTEM, *EXAMPLES, user("hi"))),
        ({"system": "be brief"}, (user("hi"), SYSTEM), (OWN_SYSTEM, user("hi"), SYSTEM)),
    ],
)
def test_the_models_own_words_come_before_the_requests(
    own: dict[str, Any], said: tuple[Message, ...], merged: tuple[Message, ...]
) -> None:
    assert conversation(ask(*said), model(**own)) == merged


def test_an_earlier_exchange_has_had_the_models_examples() -> None:
    told = model(system="be brief", messages=EXAMPLE)
    assert conversation(ask(user("hi"), context=(1, 2)), told) == (OWN_SYSTEM, user("hi"))


def test_sampling_is_the_requests_over_the_models_over_the_dialects_over_hutchs() -> None:
    request = ask(
        user("x"),
        sampling=Sampling(temperature=0.1),
        dialect_defaults=Sampling(temperature=1.0, top_p=1.0, top_k=7),
    )
    sampling = sampling_of(request, model(parameters={"temperature": 0.2, "top_p": 0.3, "stop": ["x"]}))
    assert (sampling.temperature, sampling.top_p, sampling.top_k) == (0.1, 0.3, 7)
    assert sampling.stop == ("x",)
    assert sampling.repeat_last_n == ENGINE_DEFAULTS.repeat_last_n


def test_without_a_template_the_engine_renders() -> None:
    job = job_for(ask(user("hi")), voice_of(model(), facts()), [user("hi")])
    assert job.path == RENDER_PATH
    assert job.body["messages"] == [{"role": "user", "content": "hi"}]


def test_a_plain_template_of_the_file_is_rendered_here() -> None:
    plain = facts(tokenizer__chat_template="{% for m in messages %}[{{ m.content }}]{% endfor %}")
    job = job_for(ask(user("hi")), voice_of(model(), plain), [user("hi")])
    assert (job.path, job.body["prompt"], job.prompt) == (TEXT_PATH, "[hi]", "[hi]")
    job = job_for(ask(user("hi")), voice_of(model(), plain), [user("hi"), Message("assistant", "begun")])
    assert job.path == RENDER_PATH


def test_a_template_of_the_model_is_rendered_here() -> None:
    voice = voice_of(model(template="[{{ .Prompt }}]"), facts())
    job = job_for(ask(user("hi")), voice, [user("hi")])
    assert (job.path, job.body["prompt"], job.prompt) == (TEXT_PATH, "[hi]", "[hi]")


def test_a_template_of_the_request_comes_before_the_models() -> None:
    voice = voice_of(model(template="[{{ .Prompt }}]"), facts())
    job = job_for(ask(user("hi"), template="<{{ .Prompt }}>"), voice, [user("hi")])
    assert job.body["prompt"] == "<hi>"


def test_a_template_that_cannot_be_read_gives_way_to_the_files_own() -> None:
    voice = voice_of(model(template="{{ range .Messages }}"), facts())
    assert (voice.template, voice.complaint) == (None, None)
    assert job_for(ask(user("hi")), voice, [user("hi")]).path == RENDER_PATH


def test_what_gpt_oss_writes_is_the_engines() -> None:
    voice = voice_of(model(template="[{{ .Prompt }}]"), facts(general__architecture="gpt-oss"))
    assert voice.template is None


def test_a_renderer_stands_for_the_template_in_the_file() -> None:
    by_renderer = model(template="{{ .Prompt }}", renderer="qwen3.5")
    assert voice_of(by_renderer, facts()).template is None
    assert voice_of(by_renderer, facts(tokenizer__chat_template=None)).template is not None


def test_where_there_is_no_other_its_error_is_the_answer() -> None:
    voice = voice_of(model(template="{{ range .Messages }}"), facts(tokenizer__chat_template=None))
    with pytest.raises(BadInput, match="range without its end"):
        job_for(ask(user("hi")), voice, [user("hi")])
    raw = GenerateRequest(TINY, prompt="as it stands")
    assert job_for(raw, voice, ()).body["prompt"] == "as it stands"
    with pytest.raises(BadInput, match="line 1"):
        job_for(ask(user("hi"), template="{{ end }}"), voice, [user("hi")])


def test_a_bare_prompt_goes_in_as_it_stands() -> None:
    voice = voice_of(model(template="[{{ .Prompt }}]"), facts())
    job = job_for(GenerateRequest(TINY, prompt="x"), voice, ())
    assert (job.path, job.body["prompt"], job.prompt) == (TEXT_PATH, "x", "x")
    job = job_for(GenerateRequest(TINY, prompt=(1, 2)), voice, ())
    assert (list(job.body["prompt"]), job.prompt) == ([1, 2], "")


def test_tools_are_the_engines_where_only_the_files_template_knows_them() -> None:
    voice = voice_of(model(template="[{{ .Prompt }}]"), facts(tokenizer__chat_template=JINJA + "{{ tools }}"))
    job = job_for(ask(user("hi"), tools=(TOOL,)), voice, [user("hi")])
    assert (job.path, job.body["tools"]) == (CHAT_PATH, [TOOL])
    voice = voice_of(model(template=TOOLS), facts(tokenizer__chat_template=JINJA + "{{ tools }}"))
    job = job_for(ask(user("hi"), tools=(TOOL,), tool_choice="required"), voice, [user("hi")])
    assert job.path == CHAT_PATH


TOOLS = "{{ .Tools }}{{ range .Messages }}{{ .Content }}{{ if .ToolCalls }}<call>{{ end }}{{ end }}"
THINKS = "{{ .Think }}{{ .ThinkLevel }}{{ range .Messages }}{{ if .Thinking }}<t>{{ .Thinking }}</t>{{ end }}{{ end }}"


def test_tools_of_a_template_are_told_here_and_their_calls_found_by_its_marker() -> None:
    job = job_for(
        ask(user("hi"), tools=(TOOL,), parallel_tool_calls=False),
        voice_of(model(template=TOOLS), facts()),
        [user("hi")],
    )
    assert (job.path, job.prompt) == (TEXT_PATH, '[{"type":"function","function":{"name":"f"}}]hi')
    assert job.marks == Marks(None, frozenset("f"), "<call>", 1)
    assert job.body["preserved_tokens"] == ["<call>"]
    job = job_for(ask(user("hi")), voice_of(model(template=TOOLS), facts()), [user("hi")])
    assert (job.marks, "preserved_tokens" in job.body) == (None, False)


@pytest.mark.parametrize(
    ("think", "told", "marks"),
    [
        (None, "true", Marks(("<t>", "</t>"))),
        (True, "true", Marks(("<t>", "</t>"))),
        ("high", "truehigh", Marks(("<t>", "</t>"))),
        (False, "false", None),
    ],
)
def test_a_template_that_thinks_is_told_so(think: bool | str | None, told: str, marks: Marks | None) -> None:
    job = job_for(ask(user("hi"), think=think), voice_of(model(template=THINKS), facts()), [user("hi")])
    assert (job.prompt, job.marks) == (told, marks)


@pytest.mark.parametrize(("think", "told"), [(None, "true"), (True, "true"), ("low", "truelow")])
def test_thoughts_come_before_an_answer_in_a_format(think: bool | str | None, told: str) -> None:
    voice = voice_of(model(template=THINKS), facts())
    job = job_for(ask(user("hi"), response_format="json", think=think), voice, [user("hi")])
    assert (job.prompt, job.thoughts) == (told, ("<t>", "</t>"))
    assert "json_schema" not in job.body
    assert job.body["preserved_tokens"] == ["<t>", "</t>"]


def test_who_does_not_think_answers_in_the_format_at_once() -> None:
    voice = voice_of(model(template=THINKS), facts())
    job = job_for(ask(user("hi"), response_format="json", think=False), voice, [user("hi")])
    assert (job.prompt, job.thoughts, job.body["json_schema"]["type"]) == ("false", None, "object")
    thinks = facts(tokenizer__chat_template=JINJA + "<think>")
    voice = voice_of(model(template="[{{ .Prompt }}]"), thinks)
    job = job_for(ask(user("hi"), response_format="json"), voice, [user("hi")])
    assert (job.thoughts, job.body["json_schema"]["type"]) == (None, "object")


def test_thoughts_of_a_file_that_thinks_are_found_under_any_template() -> None:
    thinks = facts(tokenizer__chat_template=JINJA + "<think>")
    voice = voice_of(model(template="[{{ .Prompt }}]"), thinks)
    assert job_for(ask(user("hi")), voice, [user("hi")]).marks == Marks(("<think>", "</think>"))
    assert job_for(ask(user("hi"), think=True), voice, [user("hi")]).path == CHAT_PATH
    request = ask(user("hi"), think=True, template="<{{ .Prompt }}>")
    assert job_for(request, voice, [user("hi")]).path == TEXT_PATH


@pytest.mark.parametrize(
    ("architecture", "think", "told"),
    [
        ("llama", None, {"enable_thinking": True}),
        ("llama", False, {"enable_thinking": False}),
        ("llama", "max", {"enable_thinking": True, "reasoning_effort": "max"}),
        ("gpt-oss", "max", {"enable_thinking": True, "reasoning_effort": "high"}),
    ],
)
def test_the_engine_is_told_whether_to_think(architecture: str, think: Any, told: dict[str, Any]) -> None:
    thinks = facts(general__architecture=architecture, tokenizer__chat_template=JINJA + "<think>")
    job = job_for(ask(user("hi"), think=think), voice_of(model(), thinks), [user("hi")])
    assert job.body["chat_template_kwargs"] == told


def test_the_middle_is_asked_for_by_the_template_or_by_the_files_tokens() -> None:
    request = GenerateRequest(TINY, prompt="a", suffix="b")
    coder = replace(facts(), fim=("<P>", "<S>", "<M>"))
    assert job_for(request, voice_of(model(), coder), ()).body["prompt"] == "<P>a<S>b<M>"
    own = voice_of(model(template="{{ .Prompt }}|{{ .Suffix }}"), coder)
    assert job_for(request, own, ()).body["prompt"] == "a|b"
    asked = replace(request, template="{{ .Suffix }}|{{ .Prompt }}")
    assert job_for(asked, voice_of(model(), facts()), ()).body["prompt"] == "b|a"
    with pytest.raises(BadInput, match="tiny does not support insert"):
        job_for(request, voice_of(model(), facts()), ())
    with pytest.raises(BadInput, match="suffix: it needs a prompt of text"):
        job_for(replace(request, prompt=(1, 2)), own, ())


def test_an_answer_that_has_to_be_parsed_is_the_engines_from_end_to_end() -> None:
    thinks = facts(tokenizer__chat_template=JINJA + "<think>")
    assert job_for(ask(user("hi")), voice_of(model(), thinks), [user("hi")]).path == CHAT_PATH


@pytest.mark.parametrize(
    ("metadata", "request_", "message"),
    [
        ({}, ask(user("x"), tools=(TOOL,)), "tiny does not support tools"),
        (
            {},
            ask(user("x"), tools=(TOOL,), tool_choice="required", template=TOOLS_ALONE),
            "tool_choice: a model whose tools are in its TEMPLATE cannot be made to call one",
        ),
        ({}, ask(user("x"), think="low"), '"tiny" does not support thinking'),
        ({}, ask(user("x"), think=True), '"tiny" does not support thinking'),
        ({"general__architecture": "bert"}, ask(user("x")), '"tiny" does not support chat'),
        (
            {"general__architecture": "bert"},
            GenerateRequest(TINY, prompt="x"),
            '"tiny" does not support generate',
        ),
    ],
)
def test_what_the_model_cannot_do_is_refused(
    metadata: dict[str, Any], request_: GenerateRequest, message: str
) -> None:
    with pytest.raises(BadInput) as caught:
        job_for(request_, voice_of(model(), facts(**metadata)), request_.messages or ())
    assert caught.value.message == message


def test_a_level_for_models_that_can_think_is_nothing_to_others() -> None:
    request = ask(user("hi"), think="low", needs_thinking=False)
    plain = job_for(request, voice_of(model(), facts()), [user("hi")])
    assert plain == job_for(ask(user("hi")), voice_of(model(), facts()), [user("hi")])
    thinks = voice_of(model(), facts(tokenizer__chat_template=JINJA + "<think>"))
    body = job_for(request, thinks, [user("hi")]).body
    assert body["chat_template_kwargs"] == {"enable_thinking": True, "reasoning_effort": "low"}


@pytest.mark.parametrize("think", [None, False])
def test_not_to_think_is_never_refused(think: bool | None) -> None:
    assert job_for(ask(user("x"), think=think), voice_of(model(), facts()), [user("x")]).path == RENDER_PATH


def test_different_conversations_have_different_keys() -> None:
    voice = voice_of(model(), facts())
    keys = {
        job_for(ask(), voice, messages).prompt
        for messages in (
            [user("a"), user("b")],
            [user("ab")],
            [user("a"), Message("assistant", "b")],
            [Message("system", "a"), user("b")],
        )
    }
    assert len(keys) == 4


def test_an_earlier_exchange_comes_before_the_prompt_as_tokens() -> None:
    request = ask(user("x"), context=(1, 2, 3))
    job = text_job(request, voice_of(model(), facts()), "rendered")
    assert (job.path, job.body["prompt"], job.prompt) == (TEXT_PATH, (1, 2, 3, "rendered"), "rendered")


MESSAGES = st.lists(
    st.builds(Message, st.sampled_from(("system", "user", "assistant", "tool")), st.text(max_size=40)),
    max_size=12,
)


@given(MESSAGES, st.integers(0, 10_000), st.integers(1, 5000))
def test_shortening_keeps_system_and_last_and_always_shrinks(
    messages: list[Message], tokens: int, num_ctx: int
) -> None:
    shorter = shortened(messages, tokens, num_ctx)
    if shorter is None:
        assert not tokens or all(message.role == "system" for message in messages[:-1])
        return
    assert len(shorter) < len(messages)
    assert shorter[-1] is messages[-1]
    rest = iter(messages)
    assert all(any(message is other for other in rest) for message in shorter)  # in the same order
    systems = [message for message in messages if message.role == "system"]
    assert [message for message in shorter if message.role == "system"] == systems


def test_the_oldest_turns_go_first_and_no_more_than_needed() -> None:
    messages = [SYSTEM, *(user(f"{number:084}") for number in range(10)), user("last")]
    shorter = shortened(messages, 1000, 1000)
    assert shorter is not None
    assert shorter == (SYSTEM, *messages[-len(shorter) + 1 :])
    assert len(shorter) == len(messages) - 3  # a quarter of what ten turns take


FORM = Form("regex", "a", "guided_regex", "start: /a/")


def test_a_form_comes_behind_the_thoughts_of_a_file_that_thinks() -> None:
    voice = voice_of(model(), facts(tokenizer__chat_template=JINJA + "<think>"))
    request = ask(user("hi"), response_format=FORM)
    first = job_for(request, voice, [user("hi")])
    assert (first.path, first.thoughts) == (RENDER_PATH, ("<think>", "</think>"))
    second = rendered_job(request, voice, "hi<think>\n", first)
    assert (second.prompt, second.thoughts, second.marks) == ("hi<think>\n", ("<think>", "</think>"), None)
    assert "grammar" not in second.body
    assert second.body["preserved_tokens"] == ["<think>", "</think>"]
    silent = ask(user("hi"), response_format=FORM, think=False)
    assert job_for(silent, voice, [user("hi")]).body["chat_template_kwargs"] == {"enable_thinking": False}
    at_once = rendered_job(silent, voice, "hi", first)
    assert (at_once.thoughts, at_once.body["grammar"]) == (None, "start: /a/")
    assert rendered_job(silent, voice, "hi<think>", first).thoughts  # a template that opens them all the same
