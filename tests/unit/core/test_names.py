"""Model names and digests."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hutch.core.errors import BadInput
from hutch.core.names import ModelName, Reference, parse_digest

HEX = "0123456789abcdef" * 4
PART_CHARS = string.ascii_letters + string.digits + "_.-"


@pytest.mark.parametrize(
    ("text", "parts", "short"),
    [
        ("m", ("registry.ollama.ai", "library", "m", "latest"), "m:latest"),
        ("smollm2:135m", ("registry.ollama.ai", "library", "smollm2", "135m"), "smollm2:135m"),
        ("me/m", ("registry.ollama.ai", "me", "m", "latest"), "me/m:latest"),
        ("hf.co/me/m:Q4_0", ("hf.co", "me", "m", "Q4_0"), "hf.co/me/m:Q4_0"),
        ("host:5000/me/m", ("host:5000", "me", "m", "latest"), "host:5000/me/m:latest"),
        ("host:5000/me/m:t", ("host:5000", "me", "m", "t"), "host:5000/me/m:t"),
        ("hf.co/library/m", ("hf.co", "library", "m", "latest"), "hf.co/library/m:latest"),
        ("registry.ollama.ai/library/m:x", ("registry.ollama.ai", "library", "m", "x"), "m:x"),
        ("Llama3.2:1B-q4", ("registry.ollama.ai", "library", "Llama3.2", "1B-q4"), "Llama3.2:1B-q4"),
        ("_m:_t", ("registry.ollama.ai", "library", "_m", "_t"), "_m:_t"),
        ("m..:t..", ("registry.ollama.ai", "library", "m..", "t.."), "m..:t.."),
        ("m:t:local", ("registry.ollama.ai", "library", "m", "t"), "m:t"),
        ("host:5000/me/m:t:LOCAL", ("host:5000", "me", "m", "t"), "host:5000/me/m:t"),
        ("host:5000/me/m:local", ("host:5000", "me", "m", "local"), "host:5000/me/m:local"),
        ("m:local", ("registry.ollama.ai", "library", "m", "local"), "m:local"),
        ("a" * 80 + ":" + "b" * 80, ("registry.ollama.ai", "library", "a" * 80, "b" * 80), None),
        ("h" * 350 + "/n/m", ("h" * 350, "n", "m", "latest"), None),
    ],
)
def test_a_name_has_four_parts_and_a_short_form(text: str, parts: tuple[str, ...], short: str | None) -> None:
    name = ModelName.parse(text)
    assert name == parts
    assert short is None or name.short == short
    assert ModelName.parse(name.short) == name


@pytest.mark.parametrize(
    "text",
    [
        "", " ", ":", "/", "m:", ":t", "m:t:u", "m:t:u:local", "m::local", ":t:local", "m t", " m", "m ", "m\n", "m\0", "\0", "m:t\0",
        ".", "..", "../m", "../../etc/passwd", "me/..", "me/../m", "..:t", "m:..", "./m", ".m", "-m", "m:-t", "m:.t",
        "/m", "/etc/passwd", "me/", "//m", "me//m", "a/b/c/d", "a/b/c/d/e", "http://h/n/m", "C:\\m", "a\\b",
        "n.s/m", "h/n.s/m", "-h/n/m", ".h/n/m", "m@sha256:1", "m%2e%2e", "m?x", "m#x", "m*", "{m}", "$m", "~m",
        "a" * 81, "m:" + "t" * 81, "n" * 81 + "/m", "h" * 351 + "/n/m", "a/" * 100_000,
        "\u0430", "llаma", "m\u200b", "ｍ", "m\u2025", "e\u0301", "١", "m:١", "\u017f", "\u212a",
    ],
)  # fmt: skip
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="invalid model name") as caught:
        ModelName.parse(text)
    assert caught.value.hint
    assert len(caught.value.message) < 600


@given(st.text())
def test_any_text_is_a_safe_name_or_refused(text: str) -> None:
    try:
        name = ModelName.parse(text)
    except BadInput:
        return
    for part in name:
        assert part not in ("", ".", "..")
        assert not set(part) & set("/\\\0")
        assert part[0] not in ".-"


@given(
    st.text("abz019_.:-", min_size=1, max_size=12),
    st.text("aZ9_-", min_size=1, max_size=12),
    st.text(PART_CHARS, min_size=1, max_size=12),
    st.text(PART_CHARS, min_size=1, max_size=12),
)
def test_the_short_form_reads_back_the_same(host: str, namespace: str, model: str, tag: str) -> None:
    name = ModelName("h" + host, "n" + namespace, "m" + model, "t" + tag)
    assert ModelName.parse(name.short) == name


def test_names_are_compared_without_case_and_kept_with_it() -> None:
    one, other = ModelName.parse("HF.co/Me/M:T"), ModelName.parse("hf.co/me/m:t")
    assert one.same_as(other)
    assert one != other
    assert one.short == "HF.co/Me/M:T"
    assert not one.same_as(ModelName.parse("hf.co/me/m:u"))


@pytest.mark.parametrize("text", [f"sha256:{HEX}", f"sha256-{HEX}", f"sha256-{HEX.upper()}"])
def test_a_digest_has_one_canonical_form(text: str) -> None:
    assert parse_digest(text) == f"sha256:{HEX}"


@pytest.mark.parametrize(
    "text",
    [
        "", HEX, "sha256:", f"sha256:{HEX}0", f"sha256:{HEX[1:]}", f"sha256:{HEX}\n", f" sha256:{HEX}", f"sha512:{HEX}",
        f"SHA256:{HEX}", f"sha256/{HEX}", f"sha256:{'g' * 64}", f"sha256:{'٣' * 64}", "sha256:../../../etc/passwd",
        f"sha256-{'../' * 21}a", f"sha256:{HEX[:-1]}\0",
    ],
)  # fmt: skip
def test_what_is_no_digest_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="invalid digest format"):
        parse_digest(text)


def test_a_reference_may_be_an_address() -> None:
    plain, secure = f"http://h:5000/me/m:t@sha256:{HEX}", "https://hf.co/me/m"
    assert str(Reference.parse_address(plain, insecure=True)) == f"h:5000/me/m:t@sha256:{HEX}"
    assert Reference.parse_address(secure, insecure=False) == Reference.parse("hf.co/me/m")
    assert Reference.parse_address("m", insecure=False) == Reference.parse("m")
    with pytest.raises(BadInput, match=r"insecure protocol http$"):
        Reference.parse_address(plain, insecure=False)
    for text in ("ftp://h/me/m", "http://h/me/m?x", "http://https://h/me/m"):
        with pytest.raises(BadInput, match="invalid model name"):
            Reference.parse_address(text, insecure=True)
