"""The rules of the code base, checked by machine."""

import ast
import asyncio
import importlib
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import BaseRoute
from starlette.routing import Route as StarletteRoute

from hutch import app, config
from hutch.api import server
from hutch.api.activity import Activity
from hutch.api.gate import Endpoint, Gate
from hutch.api.ollama_wire import OLLAMA
from hutch.api.route import Call, Route
from hutch.cli import commands
from hutch.cli.command import Command
from hutch.core.access import Action
from hutch.engines.protocol import ENGINES
from hutch.places import Address
from hutch.security.authn import Open
from tests.conftest import clean_environment

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src"
MODULES = sorted(SOURCE.rglob("*.py"))
MAX_LINES, MAX_FUNCTION_LINES, MAX_PARAMETERS, MAX_METHODS = 400, 60, 7, 12
INFERENCE_LIBRARIES = (
    "xllamacpp",
    "onnxruntime",
    "onnxruntime_genai",
    "llguidance",
    "tokenizers",
    "torch",
    "rapidocr_onnxruntime",
)
NAMED_FUNCTION = re.compile(r'"(hutch(?:\.\w+)+):(\w+)"')

Function = ast.FunctionDef | ast.AsyncFunctionDef


def _module_name(path: Path) -> str:
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts)


@pytest.fixture(params=MODULES, ids=_module_name)
def module(request: pytest.FixtureRequest) -> Path:
    """Each module of the package."""
    path: Path = request.param
    return path


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _functions(tree: ast.AST) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def _parameters(function: Function) -> list[str]:
    spec = function.args
    named = [*spec.posonlyargs, *spec.args]
    if named and named[0].arg in ("self", "cls"):
        del named[0]
    stars = [star for star in (spec.vararg, spec.kwarg) if star]
    return [parameter.arg for parameter in (*named, *spec.kwonlyargs, *stars)]


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or ""] if isinstance(node, ast.ImportFrom) else []


def test_every_module_says_what_it_is(module: Path) -> None:
    assert ast.get_docstring(_tree(module))


def test_no_file_is_too_long(module: Path) -> None:
    assert len(module.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


def test_no_function_is_too_long_or_takes_too_much(module: Path) -> None:
    for function in _functions(_tree(module)):
        assert (function.end_lineno or 0) - function.lineno < MAX_FUNCTION_LINES, function.name
        assert len(_parameters(function)) <= MAX_PARAMETERS, function.name


def test_no_class_does_too_much(module: Path) -> None:
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.ClassDef):
            methods = [each.name for each in node.body if isinstance(each, Function)]
            methods = [name for name in methods if not re.fullmatch("__.+__", name)]
            assert len(methods) <= MAX_METHODS, (node.name, methods)


def test_our_own_package_is_imported_at_the_top(module: Path) -> None:
    for function in _functions(_tree(module)):
        names = [name for node in ast.walk(function) for name in _imported(node)]
        assert not [name for name in names if name.split(".")[0] == "hutch"], function.name


def _run(*words: str) -> None:
    done = subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=290,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_imports_keep_their_contracts() -> None:
    _run("-c", "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))")


def test_starting_the_front_imports_no_inference_library(tmp_path: Path) -> None:
    script = """
        import asyncio, sys
        from hutch import app, config
        from hutch.api import server
        from hutch.api.activity import Activity
        from hutch.places import Address

        async def start():
            parts = app.build(config.load(), Address.parse(""))
            server.create_app(parts, Address.parse(""), Activity())
            await parts.backend.close()

        asyncio.run(start())
        raise SystemExit(str(set(sys.modules) & set(sys.argv[1:]) or "") or 0)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *INFERENCE_LIBRARIES],
        env=clean_environment(HUTCH_HOME=str(tmp_path)),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")


async def _built() -> tuple[tuple[Route, ...], list[BaseRoute]]:
    address = Address.parse("")
    parts = app.build(config.load(), address)
    try:
        activity = Activity()
        application: Any = server.create_app(parts, address, activity)
        while not isinstance(application, Starlette):
            application = application._app
        return server.all_routes(parts, activity), application.routes
    finally:
        await parts.backend.close()


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[tuple[Route, ...], list[BaseRoute]]:
    """The routes as they were declared, and as they are served."""
    monkeypatch.setenv("HUTCH_HOME", str(tmp_path))
    return asyncio.run(_built())


def test_every_path_is_served_through_the_gate(built: tuple[tuple[Route, ...], list[BaseRoute]]) -> None:
    declared, served = built
    found: list[tuple[str, str]] = []
    for route in served:
        assert isinstance(route, StarletteRoute)
        assert isinstance(route.endpoint, Endpoint), route.path
        found += [(method, route.path) for method in route.methods or ()]
    wanted = {(method, route.path) for route in declared for method in route.methods}
    assert sorted(found) == sorted(wanted | {("HEAD", path) for method, path in wanted if method == "GET"})


def test_every_route_declares_an_action_and_only_health_is_public(
    built: tuple[tuple[Route, ...], list[BaseRoute]],
) -> None:
    declared, _ = built
    assert all(isinstance(route.action, Action) for route in declared)
    assert {route.path for route in declared if route.public} == {"/api/health", "/healthz", "/readyz"}


@pytest.mark.parametrize("action", [None, "infer", ""])
def test_a_route_without_an_action_does_not_start(action: Any) -> None:
    async def handle(call: Call) -> Any:
        raise NotImplementedError

    route = replace(Route(("GET",), "/x", Action.INFER, handle, OLLAMA), action=action)
    with pytest.raises(TypeError, match="/x declares no action"):
        server.served(Gate(Open(), 1), route)


@pytest.mark.parametrize("name", ENGINES)
def test_every_engine_of_the_table_is_a_program(name: str) -> None:
    assert callable(importlib.import_module(ENGINES[name]).main)


@pytest.mark.parametrize("command", commands.COMMANDS, ids=lambda command: command.name)
def test_every_command_of_the_table_is_a_function(command: Command) -> None:
    name, _, function = command.run.partition(":")
    assert callable(getattr(importlib.import_module(name), function))


def test_every_function_that_a_string_names_is_there(module: Path) -> None:
    for name, function in NAMED_FUNCTION.findall(module.read_text(encoding="utf-8")):
        assert callable(getattr(importlib.import_module(name), function))


@pytest.mark.timeout(300)
def test_ruff_finds_nothing() -> None:
    _run("-m", "ruff", "check")


@pytest.mark.timeout(300)
def test_the_code_is_formatted() -> None:
    _run("-m", "ruff", "format", "--check")


@pytest.mark.timeout(300)
def test_the_types_are_right() -> None:
    _run("-m", "mypy")
