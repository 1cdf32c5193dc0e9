"""What a model knows from documents: found, cut to size, and put into the system message."""

from array import array
from pathlib import Path

import pytest

from hutch.core.chat import Message
from hutch.core.models import Document
from hutch.prompt import likeness
from hutch.prompt.knowledge import Knowledge, blended

_FILLER = "Nothing of note happened on this day and everybody went home early. " * 60


def knowledge(**texts: str) -> Knowledge:
    return Knowledge([Document(f"{name}.txt", Path("x"), text) for name, text in texts.items()])


def user(text: str) -> Message:
    return Message("user", text)


def test_short_documents_are_told_whole() -> None:
    told = knowledge(rules="Wear a badge.\n", food="Lunch is at noon.").told_to([user("hi")], 4096)
    assert [each.role for each in told] == ["system", "user"]
    assert told[0].content.endswith(
        "brackets.\n\n[rules.txt]\nWear a badge.\n\n[food.txt]\nLunch is at noon."
    )


def test_they_come_after_the_system_message_that_is_there() -> None:
    told = knowledge(rules="Wear a badge.").told_to([Message("system", "Be brief."), user("hi")], 4096)
    assert told[0].content.startswith("Be brief.\n\nAnswer from these documents")
    assert told[1:] == (user("hi"),)


@pytest.mark.parametrize(
    "question",
    ["Which policies are there for laptops?", "LAPTOP POLICY", "and laptop encryption?"],
)
def test_of_long_documents_the_matching_passages_are_told(question: str) -> None:
    wanted = "The policy says that every laptop is encrypted."
    told = knowledge(a=_FILLER, b=_FILLER + wanted + _FILLER, c=_FILLER).told_to([user(question)], 1024)
    assert wanted in told[0].content
    assert "[b.txt]\n" in told[0].content
    assert len(told[0].content) <= 1024  # half of 1024 tokens of two characters


def test_a_question_without_a_match_goes_by_the_one_before() -> None:
    known = knowledge(a=_FILLER, b=_FILLER + " Encryption uses keys of 256 bits." + _FILLER)
    told = known.told_to([user("encryption?"), Message("assistant", "Yes."), user("Why?")], 1024)
    assert "256 bits" in told[0].content
    assert known.told_to([user("xyzzy")], 1024) == (user("xyzzy"),)


def test_chinese_is_searched_by_characters() -> None:
    filler = "今天天气很好我们去公园散步。" * 200
    told = knowledge(a=filler, b=filler + "密码必须有十二个字符。" + filler).told_to(
        [user("密码多长？")], 1024
    )
    assert "密码必须" in told[0].content


def test_what_the_model_makes_of_the_text_says_how_much_fits() -> None:
    known = knowledge(a="word " * 1000)
    assert known.told_to([user("word")], 2048)[0].content.count("word") < 1000
    known.measure(1000)  # five characters a token
    assert known.told_to([user("word")], 2048 + 512)[0].content.count("word") == 1000
    known.measure(0)


def test_a_long_conversation_leaves_documents_less_room_but_some() -> None:
    known = knowledge(a=_FILLER)
    sizes = [
        len(known.told_to([Message("assistant", "x" * 8 * count), user("note?")], 2048)[0].content)
        for count in (1, 200, 300, 4000)
    ]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > sizes[2] >= sizes[3] > 256


def test_of_a_passage_that_is_too_long_the_part_with_the_word_is_told() -> None:
    told = knowledge(a=_FILLER, b="x " * 150 + "The key is 4711. " + "y " * 150).told_to([user("key?")], 256)
    assert "key is 4711" in told[0].content
    assert len(told[0].content) <= 256


def test_an_exchange_that_goes_on_has_heard_short_documents_already() -> None:
    assert knowledge(a="Short.").told_to([user("hi")], 1024, 10) == (user("hi"),)
    assert len(knowledge(a=_FILLER).told_to([user("note")], 1024, 10)) == 2


@pytest.mark.parametrize(
    "text", ["", "-" * 100_000, "a" * 100_000, "\n" * 9000, "é" * 5, "İ " * 9000, "x " * 50_000]
)
def test_any_text_can_be_cut_and_counted(text: str) -> None:
    known = knowledge(a=text)
    assert len(known.sample) <= 65 << 10
    for message in known.told_to([user("a x é İ")], 512):
        assert len(message.content) <= 512


def test_a_long_text_is_counted_by_pieces_from_everywhere() -> None:
    sample = knowledge(a="a" * 200_000, b="b" * 200_000).sample
    assert abs(sample.count("a") - sample.count("b")) < 2000


def test_what_is_near_in_meaning_is_told_though_no_word_is_shared() -> None:
    wanted = "Who is ill telephones the office before nine."
    known = knowledge(a=_FILLER, b=_FILLER + wanted + _FILLER, c=_FILLER)
    texts = [text for _, part in known.parts for text in part]
    index = next(i for i, text in enumerate(texts) if wanted in text)
    question = user("Sick leave?")
    assert known.told_to([question], 1024) == (question,)
    assert wanted in known.told_to([question], 1024, 0, [index])[0].content


def test_what_stands_high_in_two_rankings_stands_highest() -> None:
    assert blended([3, 1, 2], [4, 1]) == [1, 3, 4, 2]
    assert blended([], [2, 1]) == [2, 1]


@pytest.mark.parametrize(
    ("said", "question"),
    [
        (["Which badge have visitors?"], "Which badge have visitors?"),
        (["visitors?", "xyzzy"], "visitors?\nxyzzy"),
        (["old words", "nothing there", "xyzzy", ""], "xyzzy"),
        (["x" * 5000], "x" * 4000),
        (["", "  "], ""),
    ],
)
def test_the_question_begins_with_the_last_message_that_says_something(
    said: list[str], question: str
) -> None:
    known = knowledge(a="The badge of visitors is violet. " * 400)
    assert known.question([user(each) for each in said], 1024) == question


def test_nothing_is_asked_about_documents_that_fit_or_were_told() -> None:
    assert knowledge(a="Short.").question([user("Short?")], 1024) == ""
    assert knowledge(a="Short.").question([user("Short?")], 1024, 10) == ""


def test_the_nearest_vectors_come_first() -> None:
    rows = array("f", [1, 0, 0, 1, 0.6, 0.8, -1, 0]).tobytes()
    assert likeness.alike((0.8, 0.6), rows, 3) == (2, 0, 1)
    assert likeness.alike((0.8, 0.6), rows, 9) == (2, 0, 1, 3)
