"""The Node.js client as npm builds and installs it: its sources give what is committed, its types hold, Express runs it."""

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import MODEL, Server, clean_environment, free_port

pytestmark = [pytest.mark.clients, pytest.mark.timeout(900)]
ROOT = Path(__file__).parents[2]
SDK = ROOT / "sdk" / "node"
# What a program in TypeScript gets: each line that begins with // @ts-expect-error must be one that the compiler refuses.
TYPED = """
import { Client, NotFound, type Answer, type Message, type Progress } from 'hutch'
const client = new Client({ baseUrl: 'localhost', retries: { times: 1 } })
const messages: Message[] = [{ role: 'user', content: 'Hi' }]
const answer: Answer = await client.chat('m', messages, { options: { num_predict: 1 }, signal: AbortSignal.timeout(1) })
messages.push(answer.message)
const tokens: number = answer.usage.completion_tokens
for await (const step of client.pullStream('m')) { const it: Progress = step; console.log(it.total_bytes, tokens) }
export const isMissing = (error: unknown): boolean => error instanceof NotFound && error.httpStatus === 404
// @ts-expect-error
await client.chat('m', messages, { temprature: 1 })
// @ts-expect-error
await client.chat('m', [{ role: 'robot' }])
// @ts-expect-error
answer.text = ''
"""
OPTIONS = {
    "module": "nodenext",
    "target": "es2022",
    "strict": True,
    "noEmit": True,
    "lib": ["es2022", "dom"],
    "types": [],
}


def _npm(folder: Path, *words: str) -> None:
    done = subprocess.run(
        ["npm", "--no-audit", "--no-fund", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the client, built from its sources."""
    folder = tmp_path_factory.mktemp("npm") / "sdk"
    shutil.copytree(SDK, folder, ignore=shutil.ignore_patterns("node_modules", "dist"))
    _npm(folder, "ci")
    _npm(folder, "run", "build")
    return folder


def test_what_is_committed_is_what_the_sources_give(built: Path) -> None:
    made, kept = (
        {path.name: path.read_bytes() for path in (folder / "dist").iterdir()} for folder in (built, SDK)
    )
    assert made == kept


def test_the_lock_names_no_registry() -> None:
    assert "resolved" not in (SDK / "package-lock.json").read_text(encoding="utf-8")


def test_the_types_hold(built: Path, tmp_path: Path) -> None:
    (tmp_path / "package.json").write_text('{"type": "module"}', encoding="utf-8")
    (tmp_path / "program.ts").write_text(TYPED, encoding="utf-8")
    (tmp_path / "tsconfig.json").write_text(json.dumps({"compilerOptions": OPTIONS, "files": ["program.ts"]}))
    _npm(tmp_path, "install", "--install-links", str(SDK))
    tsc = built / "node_modules" / "typescript" / "bin" / "tsc"
    done = subprocess.run(
        ["node", tsc], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode == 0, done.stdout


def test_express_runs_the_example(serve: Callable[..., Server], models_dir: Path, tmp_path: Path) -> None:
    server = serve(models_dir)
    port = free_port()
    text = (SDK / "examples" / "express.mjs").read_text(encoding="utf-8")
    text = (
        text.replace("phi4:mini", MODEL)
        .replace("3000", str(port))
        .replace("num_predict: 1024", "num_predict: 8")
    )
    (tmp_path / "package.json").write_text("{}", encoding="utf-8")
    (tmp_path / "app.mjs").write_text(text, encoding="utf-8")
    _npm(tmp_path, "install", "--install-links", "express", str(SDK))
    app = subprocess.Popen(
        ["node", "app.mjs"],
        cwd=tmp_path,
        env=clean_environment(HUTCH_HOST=server.url),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert app.stdout is not None
        assert "running" in app.stdout.readline()

        def ask(timeout_s: float) -> tuple[int, dict[str, str]]:
            body = json.dumps({"message": "Say hi."}).encode()
            request = urllib.request.Request(
                f"http://127.0.0.1:{port}/api/chat", body, {"Content-Type": "application/json"}
            )
            try:
                with urllib.request.urlopen(request, timeout=timeout_s) as reply:
                    return reply.status, json.load(reply)
            except urllib.error.HTTPError as error:
                return error.code, json.load(error)

        status, told = ask(60)
        assert (status, bool(told["response"])) == (200, True)
        with pytest.raises(OSError, match="timed out"):
            ask(0.001)  # a client that leaves does not take the program with it
        time.sleep(0.5)
        assert ask(60)[0] == 200
        server.stop()
        assert ask(60) == (500, {"error": "Failed to generate response"})
    finally:
        app.kill()
        app.communicate()
