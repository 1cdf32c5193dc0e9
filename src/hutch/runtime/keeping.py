"""What slots hold outlives their worker: saved before it ends, and put back when its principal asks for it again.

An engine writes to memory that belongs to this process alone and has no name (memfd), so that a killed server leaves nothing. What goes
to disk from there is sealed. A state that cannot be used is removed and never anybody's error: the prompt is then read anew.
"""

import asyncio
import json
import logging
import os
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar

from hutch.core.access import Principal
from hutch.core.errors import Damaged, HutchError
from hutch.engines.client import WorkerClient, WorkerGone
from hutch.engines.protocol import LaunchPlan
from hutch.formats.facts import Facts
from hutch.formats.gguf import GGUF
from hutch.runtime import machine
from hutch.runtime.engine_build import engine_build
from hutch.runtime.onnx_launch import RanOn
from hutch.runtime.slots import Slot, common_prefix_length
from hutch.security import sealed
from hutch.store import kept

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
HAS_MEMORY_FILES = hasattr(os, "memfd_create")
_MIN_TOKENS = 256  # what is read sooner than it is fetched
MIN_CHARS = 512  # of a prompt, for a state to be worth its way
_MAX_PROMPT_CHARS = sealed.MAX_PART_BYTES // 16  # of which a state is recognised, in JSON at its worst
_WITHIN_S = 3.0  # for all slots of a model that goes
_ASK_WITHIN_S = 1.0


class Match(NamedTuple):
    """A state that begins as a prompt does, for so many characters."""

    path: Path
    shared: int


class Keeping:
    """How all models of a server keep their states, once the secret is found. `find` may take its time."""

    def __init__(self, root: Path, max_bytes: int, find: Callable[[], bytes | None]) -> None:
        self.root = root
        self.max_bytes = max_bytes
        self.secret: bytes | None = None
        self._find = find
        if self.folder:
            threading.Thread(target=self._begin, name="sealing key", daemon=True).start()

    @property
    def folder(self) -> str:
        """Where engines find this process's memory files, by their numbers; "" where nothing is kept."""
        return f"/proc/{os.getpid()}/fd/" if self.max_bytes and HAS_MEMORY_FILES else ""

    def _begin(self) -> None:
        kept.sweep(self.root)
        self.secret = self._find()


NOTHING = Keeping(Path(), 0, lambda: None)


def can_keep(plan: LaunchPlan, facts: Facts, ran_on: RanOn | None) -> bool:
    """Whether a slot is all in what this engine saves of it."""
    if facts.is_embedding or plan.draft or plan.projector:
        return False
    if plan.engine == "onnx":
        return ran_on is not None and ran_on.runner == "onnxruntime"
    # llama-server of older builds goes on from no sliding window that it has not computed itself.
    has_window = (
        isinstance(facts, GGUF) and f"{facts.architecture}.attention.sliding_window" in facts.metadata
    )
    return not (plan.binary and has_window)


def setting_of(plan: LaunchPlan, ran_on: RanOn | None) -> Mapping[str, object]:
    """All that a state depends on beside the model and the principal."""
    if plan.engine == "onnx":
        engine = f"{ran_on.runner} {ran_on.version} {ran_on.provider}" if ran_on else ""
    else:
        engine = engine_build(plan.binary)
    names = ("kv_cache_type", "flash_attention", "num_ctx", "num_slots", "context_shift")
    return {"engine": engine, **{name: getattr(plan, name) for name in names}}


class States:
    """The states of one loaded model."""

    def __init__(
        self, keeping: Keeping, digest: str, setting: Mapping[str, object], token_bytes: int
    ) -> None:
        self._keeping = keeping
        self._digest = digest
        self._setting = setting
        self._token_bytes = token_bytes
        self._known: dict[str, dict[Path, str]] = {}  # the prompts of each principal's states
        self._working: set[asyncio.Task[None]] = set()

    async def best(self, who: Principal, prompt: str) -> Match | None:
        """The state of this principal that holds most of a prompt, if that is worth it."""
        if len(prompt) < MIN_CHARS or self._keeping.secret is None:
            return None
        if who.id not in self._known:
            self._known[who.id] = await asyncio.to_thread(self._prompts, who)
        found = (
            Match(path, common_prefix_length(text, prompt)) for path, text in self._known[who.id].items()
        )
        best = max(found, key=lambda match: match.shared, default=None)
        return best if best and best.shared >= max(MIN_CHARS, len(prompt) // 10) else None

    async def bring(self, who: Principal, match: Match, client: WorkerClient, slot: int) -> bool:
        """Put a state into a slot that the caller holds, and say whether it is there."""
        return await _to_its_end(self._bring(who, match, client, slot))

    async def keep(self, client: WorkerClient, slots: Sequence[Slot]) -> None:
        """Save what these slots hold, the first ones first, as many as there is time for."""
        if self._keeping.secret is None or not slots:
            return
        deadline = time.monotonic() + _WITHIN_S
        task = asyncio.create_task(self._keep_all(client, slots, deadline))
        self._working.add(
            task
        )  # it ends by itself, with the worker or with its time, and not before: see _memory
        task.add_done_callback(self._working.discard)
        await asyncio.wait({task}, timeout=_WITHIN_S)

    async def _bring(self, who: Principal, match: Match, client: WorkerClient, slot: int) -> bool:
        try:
            with _memory() as file:
                await asyncio.to_thread(self._unseal, who, match.path, file)
                await client.call(f"/slots/{slot}?action=restore", {"filename": str(file.fileno())})
        except (WorkerGone, OSError) as error:
            _log.warning("a kept prompt could not be fetched: %s", error)
            self._known[who.id].pop(match.path, None)
            return False
        except HutchError as error:
            _log.warning("%s is removed: %s", match.path, error.message)
            self._known[who.id].pop(match.path, None)
            kept.remove(match.path)
            return False
        return True

    async def _keep_all(self, client: WorkerClient, slots: Sequence[Slot], deadline: float) -> None:
        try:
            told = await client.get("/slots", _ASK_WITHIN_S)
            num_held = {int(each["id"]): int(each.get("n_prompt_tokens", 0)) for each in told}
            for slot in slots:
                if time.monotonic() < deadline and self._is_worth(num_held.get(slot.index, 0)):
                    await self._keep(client, slot, deadline)
        except (HutchError, OSError, TimeoutError) as error:
            _log.warning("a prompt is not kept: %s", error)

    def _is_worth(self, num_tokens: int) -> bool:
        """Whether so many tokens are worth their room, and find it."""
        size_bytes = num_tokens * self._token_bytes
        room_bytes = min(self._keeping.max_bytes, machine.memory_bytes()[0] // 2)
        return num_tokens >= _MIN_TOKENS and size_bytes <= room_bytes

    async def _keep(self, client: WorkerClient, slot: Slot, deadline: float) -> None:
        who = slot.owner
        assert who is not None  # noqa: S101  a slot without an owner is not kept
        with _memory() as file:
            await client.call(f"/slots/{slot.index}?action=save", {"filename": str(file.fileno())})
            await asyncio.to_thread(self._seal, who, slot.prompt[:_MAX_PROMPT_CHARS], file, deadline)

    def _seal(self, who: Principal, prompt: str, file: BinaryIO, deadline: float) -> None:
        """Put a state on disk, in place of those that are a beginning of it."""
        keeping, about = self._keeping, self._about(who)
        assert keeping.secret is not None  # noqa: S101

        def parts() -> Iterator[bytes]:
            yield json.dumps({"prompt": prompt}).encode()
            while data := file.read(sealed.MAX_PART_BYTES):
                if time.monotonic() > deadline:
                    raise TimeoutError("it took too long")
                yield data

        pieces = sealed.seal(keeping.secret, about, parts())
        file.seek(0)
        older = self._prompts(who)
        kept.put(self._stem(about), os.fstat(file.fileno()).st_size, keeping.max_bytes, pieces)
        for path, text in older.items():
            if prompt.startswith(text):
                kept.remove(path)

    def _unseal(self, who: Principal, path: Path, file: BinaryIO) -> None:
        secret = self._keeping.secret
        assert secret is not None  # noqa: S101
        with path.open("rb") as source:
            parts = sealed.unseal(secret, self._about(who), source)
            next(parts)
            file.writelines(parts)
        file.flush()
        os.utime(path)  # it was used now

    def _prompts(self, who: Principal) -> dict[Path, str]:
        """The prompts of all states of a principal. What cannot be read is removed."""
        secret, about = self._keeping.secret, self._about(who)
        assert secret is not None  # noqa: S101
        prompts = {}
        for path in kept.named(self._stem(about)):
            try:
                with path.open("rb") as source:
                    prompts[path] = str(json.loads(next(sealed.unseal(secret, about, source)))["prompt"])
            except (Damaged, ValueError, KeyError, TypeError) as error:
                _log.warning("%s is removed: %s", path, error)
                kept.remove(path)
            except OSError as error:
                _log.warning("%s: %s", path, error.strerror)
        return prompts

    def _stem(self, about: bytes) -> Path:
        secret = self._keeping.secret
        assert secret is not None  # noqa: S101
        return self._keeping.root / self._digest / sealed.name_for(secret, about)

    def _about(self, who: Principal) -> bytes:
        said = {"model": self._digest, "principal": who.id, **self._setting}
        return json.dumps(said, sort_keys=True).encode()


def _memory() -> BinaryIO:
    """A file in memory that has no name. An engine opens it by its number, so it must stay open for as long as one may do that."""
    return os.fdopen(os.memfd_create("hutch-state"), "w+b")


async def _to_its_end(work: Awaitable[_T]) -> _T:
    """Do it all, even if whoever asked for it leaves: a slot is not given to others while an engine fills it."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise
