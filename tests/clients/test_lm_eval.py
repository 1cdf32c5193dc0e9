"""EleutherAI's lm-evaluation-harness against Hutch, without a network: `pytest -m clients tests/clients/test_lm_eval.py`.

The right answers are what the model itself says when asked greedily, so that a model of any size passes, and a server that
scores the wrong tokens fails.
"""

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import EVERY_ENGINE, MODEL, Server, clean_environment

pytestmark = [pytest.mark.clients, pytest.mark.timeout(1800), EVERY_ENGINE]
PROMPTS = ("The capital of France is", "Water is made of", "Once upon a time there", "One, two, three,")
WRONG = (" zebra umbrella quartz", " 9)]]##", " yes yes no yes")
TASKS = {
    "hutch_choices": """
output_type: multiple_choice
doc_to_text: "{{prompt}}"
doc_to_choice: "{{choices}}"
doc_to_target: "{{gold}}"
target_delimiter: ""
metric_list: [{metric: acc}]
""",
    "hutch_rolling": """
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{prompt}}"
metric_list: [{metric: word_perplexity}]
""",
    "hutch_completes": """
output_type: generate_until
doc_to_text: "{{prompt}}"
doc_to_target: "{{completion}}"
generation_kwargs: {until: ["<never>"], max_gen_toks: 8, temperature: 0}
metric_list: [{metric: exact_match}]
""",
    "hutch_chats": """
output_type: generate_until
doc_to_text: "{{prompt}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["<never>"], max_gen_toks: 8, temperature: 0}
metric_list: [{metric: exact_match}]
""",
}


@pytest.fixture(scope="session")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python environment with the harness in it."""
    folder = tmp_path_factory.mktemp("harness")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    subprocess.run([folder / "bin" / "python", "-m", "pip", "install", "-q", "lm-eval[api]"], check=True)
    return folder / "bin" / "lm_eval"


@pytest.fixture
def house(serve: Callable[..., Server], models_dir: Path) -> Server:
    """A server with one model loaded: what asks for tokens names none."""
    server = serve(models_dir)
    greedy(server, "/v1/completions", prompt="x")
    return server


def greedy(server: Server, path: str, **body: Any) -> str:
    """What the model says to this."""
    status, reply = server.post(
        path, {"model": MODEL, "max_tokens": 8, "temperature": 0, "seed": 1234, **body}
    )
    assert status == 200, reply
    [choice] = reply["choices"]
    return str(choice.get("text") or choice["message"]["content"])


def word_perplexity(server: Server) -> float:
    """How surprised the model is by the words of the prompts, each read behind the token that begins a text."""

    def asked(path: str, **body: Any) -> Any:
        status, reply = server.post(path, {"model": MODEL, **body})
        assert status == 200, reply
        return reply

    info = server.get(f"/tokenizer_info?model={MODEL}")
    start = asked("/tokenize", content=info["bos_token"] or info["eos_token"])["tokens"]
    total = 0.0
    for prompt in PROMPTS:
        tokens = [*start, *asked("/tokenize", content=prompt)["tokens"]]
        [choice] = asked("/v1/completions", prompt=tokens, echo=True, logprobs=1, max_tokens=0)["choices"]
        total += sum(choice["logprobs"]["token_logprobs"][1:])
    return math.exp(-total / sum(len(prompt.split()) for prompt in PROMPTS))


@pytest.fixture
def tasks(house: Server, tmp_path: Path) -> Path:
    """The tasks, and their documents: what this model is to get right."""
    rows = []
    for index, prompt in enumerate(PROMPTS):
        completion = greedy(house, "/v1/completions", prompt=prompt)
        messages = [{"role": "user", "content": prompt}]
        choices = list(WRONG)
        choices.insert(index % 4, completion)
        answer = greedy(house, "/v1/chat/completions", messages=messages)
        row = {"prompt": prompt, "choices": choices, "gold": index % 4}
        rows.append({**row, "completion": completion, "answer": answer})
    documents = tmp_path / "documents.jsonl"
    documents.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, text in TASKS.items():
        where = f"task: {name}\ndataset_path: json\ndataset_kwargs: {{data_files: {{test: {documents}}}}}\n"
        (tmp_path / f"{name}.yaml").write_text(f"{where}test_split: test\n{text}metadata: {{version: 1}}\n")
    return tmp_path


def results(
    harness: Path, tasks: Path, model: str, arguments: dict[str, object], names: list[str], *more: str
) -> dict[str, Any]:
    """What the harness finds."""
    told = ",".join(f"{name}={value}" for name, value in {"model": MODEL, **arguments}.items())
    words = [str(harness), "run", "--model", model, "--model_args", told, "--tasks", *names]
    words += ["--include_path", str(tasks), "--output_path", str(tasks / "out"), *more]
    offline = dict.fromkeys(("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"), "1")
    done = subprocess.run(
        words,
        env=clean_environment(
            **offline, HF_HOME=str(tasks / "hf"), OPENAI_API_KEY="none", PATH=os.environ["PATH"]
        ),
        cwd=tasks,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    [file] = (tasks / "out").rglob("results_*.json")
    found: dict[str, Any] = json.loads(file.read_text())["results"]
    return found


@pytest.mark.parametrize("tokenized", [True, False])
def test_local_completions_score_by_the_servers_own_tokenizer(
    harness: Path, house: Server, tasks: Path, tokenized: bool
) -> None:
    where = {
        "base_url": f"{house.url}/v1/completions",
        "tokenizer_backend": "remote",
        "tokenized_requests": tokenized,
        "num_concurrent": 4,
        "max_length": 1024,
    }
    found = results(
        *(harness, tasks, "local-completions", where), ["hutch_choices", "hutch_rolling", "hutch_completes"]
    )
    assert found["hutch_choices"]["acc,none"] == 1.0
    assert found["hutch_rolling"]["word_perplexity,none"] == pytest.approx(word_perplexity(house), rel=1e-3)
    assert found["hutch_completes"]["exact_match,none"] == 1.0


def test_the_harness_finds_the_tokenizer_by_itself_and_sends_batches(
    harness: Path, house: Server, tasks: Path
) -> None:
    where = {"base_url": f"{house.url}/v1/completions", "max_length": 1024}
    found = results(harness, tasks, "local-completions", where, ["hutch_choices"], "--batch_size", "4")
    assert found["hutch_choices"]["acc,none"] == 1.0


def test_local_chat_completions_answer(harness: Path, house: Server, tasks: Path) -> None:
    where = {"base_url": f"{house.url}/v1/chat/completions", "num_concurrent": 2}
    found = results(
        *(harness, tasks, "local-chat-completions", where), ["hutch_chats"], "--apply_chat_template"
    )
    assert found["hutch_chats"]["exact_match,none"] == 1.0
