"""A prompt told back: its text, and how likely the model found each of its tokens.

No worker tells the log-probabilities of a prompt. But it tells those of what it writes, before any bias: so it is asked for one
token behind each beginning of the prompt, and a bias has it write the token that stands there. All but that token is
in the slot already, so this takes about one step of decoding a token.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from hutch.core.chat import Echo, TokenLogprob
from hutch.core.errors import BadInput, ContextExceeded, EngineFailed
from hutch.engines.client import WorkerClient, WorkerGone
from hutch.engines.protocol import LaunchPlan
from hutch.engines.wire import TEXT_PATH, piece_bytes, token_logprobs

_CERTAIN = 1e4  # a bias that no difference of logits outweighs
_FIRST_LOOK = 256  # of so many likeliest tokens the one that is looked for is nearly always one
_WHOLE = 1 << 20  # more than any vocabulary has
_MAX_WHOLE = 16  # looks at all of it: each takes a good part of a second


async def told_back(
    client: WorkerClient,
    prompt: str | Sequence[int],
    top: int | None,
    slot: Mapping[str, Any],
    plan: LaunchPlan,
) -> Echo:
    """The prompt with its text, and where `top` is not None with the log-probabilities of its tokens and of the `top` likeliest.

    `slot` has `id_slot` and `cache_prompt` for the first call. Raises ContextExceeded, and BadInput for what is no token.
    """
    if top is None:
        return Echo(prompt if isinstance(prompt, str) else await _text(client, prompt))
    if isinstance(prompt, str):
        ask = {"content": prompt, "add_special": True, "parse_special": True, "with_pieces": True}
        told = (await client.call("/tokenize", ask))["tokens"]
        ids = [int(each["id"]) for each in told]
        pieces = [piece_bytes(each["piece"]) for each in told]
        text = prompt
    else:
        ids, pieces, text = list(prompt), [], await _text(client, prompt)
    if len(ids) >= plan.num_ctx:
        raise ContextExceeded(
            f"the prompt is longer than the context: {len(ids)} tokens exceed {plan.num_ctx}",
            hint="Shorten the prompt, or ask for a larger num_ctx.",
            prompt_tokens=len(ids),
            num_ctx=plan.num_ctx,
        )
    logprobs: list[TokenLogprob] = []
    num_whole = 0
    for index in range(1, len(ids)):
        reads = {**slot, "cache_prompt": bool(slot["cache_prompt"]) or index > 1, "prompt": ids[:index]}
        judged, is_whole = await _judged(client, reads, ids[index], top)
        logprobs.append(judged)
        num_whole += is_whole
        if num_whole > _MAX_WHOLE:
            raise BadInput(
                f"prompt: the engine does not readily tell how likely more than {_MAX_WHOLE} of its tokens are",
                hint="Shorten the prompt, or leave `logprobs` out.",
                param="prompt",
            )
    if not pieces:
        later = [await _piece(client, *each) for each in zip(ids[1:], logprobs, strict=True)]
        pieces = [(await _text(client, ids[:1])).encode(), *later]
    return Echo(text, tuple(pieces), tuple(logprobs))


async def _judged(
    client: WorkerClient, reads: Mapping[str, Any], wanted: int, top: int
) -> tuple[TokenLogprob, bool]:
    """How likely a token is behind what is read, and whether that took a look at the whole vocabulary."""
    num_probs = 0
    found = next(iter(await _written(client, reads, wanted, max(1, top))), None)
    if found is None:
        # The engine says nothing of a token that ends within a character. So it writes another one, and is asked what
        # it might have written instead.
        [filler] = (await client.call("/tokenize", {"content": "a"}))["tokens"][-1:]
        for num_probs in (max(_FIRST_LOOK, top), _WHOLE):
            [other] = await _written(client, reads, filler, num_probs)
            found = next((each for each in other["top_logprobs"] if each["id"] == wanted), None)
            if found is not None:
                found = {**found, "top_logprobs": other["top_logprobs"]}
                break
        else:
            raise EngineFailed(
                f"the engine knows no likelihood of token {wanted}", hint="Leave `logprobs` out."
            )
    [judged] = token_logprobs([found], top)
    return judged, num_probs == _WHOLE


async def _written(
    client: WorkerClient, reads: Mapping[str, Any], token: int, num_probs: int
) -> list[dict[str, Any]]:
    """What the engine tells of this token while it writes it."""
    how = {"n_predict": 1, "temperature": 0, "logit_bias": [[token, _CERTAIN]], "n_probs": num_probs}
    reply = await client.call(TEXT_PATH, {**reads, **how, "post_sampling_probs": False, "stream": False})
    return list(reply.get("completion_probabilities") or ())


async def _text(client: WorkerClient, ids: Sequence[int]) -> str:
    """The text of tokens. Raises BadInput for what is none."""
    try:
        return str((await client.call("/detokenize", {"tokens": list(ids)}))["content"])
    except WorkerGone:
        raise
    except EngineFailed as error:  # which is how llama-server says it
        raise BadInput("prompt: it has tokens that this model does not know", param="prompt") from error


async def _piece(client: WorkerClient, token: int, told: TokenLogprob) -> bytes:
    """The bytes of a token; a special one has none in an answer."""
    return bytes(told.bytes) or (await _text(client, [token])).encode()
