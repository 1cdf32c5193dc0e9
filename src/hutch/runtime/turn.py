"""A turn of the worker: which of a request's choices it writes at once, and in which slots."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from hutch.core.access import Principal
from hutch.core.chat import Chunk, GenerateRequest, Message
from hutch.engines.client import WorkerGone
from hutch.engines.protocol import LaunchPlan
from hutch.engines.wire import RENDER_PATH, several
from hutch.runtime.answering import answered, pictured, rendered
from hutch.runtime.conversation import Job, job_for, rendered_job
from hutch.runtime.echo import told_back
from hutch.runtime.keeping import MIN_CHARS
from hutch.runtime.loaded import LoadedModel
from hutch.runtime.slots import Lease

_MAX_CONTEXTS = 10  # how often an answer may fill the context anew, where that is shifted


@dataclass(frozen=True, slots=True)
class Turn:
    """The choices from `first` on, one in the lease's slot and one in each of `more`. A later turn finds the prompt in the slot."""

    lease: Lease
    first: int
    more: tuple[int, ...] = ()

    @property
    def num_choices(self) -> int:
        """How many are written."""
        return 1 + len(self.more)

    def slot(self, *, may_reuse: bool) -> dict[str, Any]:
        """Where the prompt goes, and whether what is there may be reused: for a later turn it is this very prompt."""
        return {
            "id_slot": self.lease.index,
            "cache_prompt": may_reuse and (self.lease.reuse or self.first > 0),
        }

    def body(self, body: Mapping[str, Any], plan: LaunchPlan) -> dict[str, Any]:
        """A worker's body for these choices, without what it has no word for."""
        said = several(body, self.first, self.num_choices)
        if self.more and plan.engine == "onnx":  # llama-server takes what is free, in the same order
            said["id_slots"] = list(self.more)
        if said["repeat_last_n"] < 0:  # all that there is
            said["repeat_last_n"] = plan.num_ctx
        if plan.context_shift and said["n_predict"] < 0:
            said["n_predict"] = _MAX_CONTEXTS * plan.num_ctx  # every answer ends
        return said


async def answer(
    loaded: LoadedModel,
    request: GenerateRequest,
    who: Principal,
    messages: Sequence[Message],
    timeout_s: float,
) -> AsyncGenerator[Chunk, None]:
    """The chunks of all choices, in as many turns as it takes. `timeout_s`: how long a worker may take to be ready."""
    job = job_for(request, loaded.voice, messages)
    shares = _may_share(job, loaded.plan)
    done = 0
    match = await loaded.states.best(who, job.prompt) if loaded.states else None
    elsewhere = match.shared - MIN_CHARS if match else 0  # by so much it must beat a slot
    async with loaded.slots.lease(who, job.prompt, elsewhere) as lease:
        lease = replace(lease, reuse=lease.reuse and loaded.terms.keeps_prefixes)  # noqa: PLW2901
        if match and loaded.states and lease.shared <= elsewhere:
            worker = await loaded.ready(timeout_s)
            is_there = await loaded.states.bring(who, match, worker.client, lease.index)
            lease = replace(lease, reuse=is_there)  # noqa: PLW2901
        while done < request.num_choices:  # the prompt is in the slot now: no choice reads it anew
            with loaded.slots.also(who, request.num_choices - done - 1 if shares else 0) as more:
                turn = Turn(lease, done, more)
                async with aclosing(_tried(loaded, request, job, turn, timeout_s)) as chunks:
                    async for chunk in chunks:
                        yield chunk
                done += turn.num_choices


async def _tried(
    loaded: LoadedModel, request: GenerateRequest, job: Job, turn: Turn, timeout_s: float
) -> AsyncGenerator[Chunk, None]:
    """What the worker answers; what its successor does, where it dies before it said anything."""
    for last_try in (False, True):
        worker = await loaded.ready(timeout_s)
        has_answered = False
        try:
            if (request.context and job.thoughts is None) or job.path == RENDER_PATH:
                text = await rendered(worker.client, job)
                job = rendered_job(request, loaded.voice, text, job)
            slot = turn.slot(may_reuse=not last_try)
            echo = None
            if request.echo and request.prompt is not None and not turn.first:
                echo = await told_back(worker.client, request.prompt, request.top_logprobs, slot, worker.plan)
                slot["cache_prompt"] = True
            is_judged = echo is not None and bool(echo.pieces)
            body = {
                **await pictured(worker.client, job),
                **slot,
                "return_progress": _takes_steps(job, worker.plan.num_batch),
            }
            full = replace(job, body=turn.body(body, worker.plan))
            async with aclosing(answered(worker.client, full, request, loaded.voice)) as chunks:
                async for chunk in chunks:
                    has_answered = True
                    if turn.first or echo:
                        chunk = replace(chunk, choice=turn.first + chunk.choice, echo=echo)  # noqa: PLW2901
                        echo = None
                    if is_judged and chunk.usage:  # what is in the slot was computed for this very request
                        chunk = replace(chunk, usage=replace(chunk.usage, cached_tokens=0))  # noqa: PLW2901
                    yield chunk
        except WorkerGone:
            if last_try or has_answered:
                raise
            await loaded.lost(worker)  # it died before it said anything: its successor answers
        else:
            return


def _may_share(job: Job, plan: LaunchPlan) -> bool:
    """Whether the engine can write several answers behind a prompt that it reads once."""
    return not (job.images or job.thoughts or plan.context_shift or plan.draft)


def _takes_steps(job: Job, num_batch: int) -> bool:
    """Whether the prompt may take several steps. The engine then says a word after each: it notices a closed connection by it.

    Before a single step's end there is nobody to tell, and each word costs the first token a moment.
    """
    prompt = job.body.get("prompt")
    return not isinstance(prompt, str) or len(prompt.encode()) >= num_batch  # no token without a byte
