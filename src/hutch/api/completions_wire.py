"""The body of `/v1/completions`, and the internal requests that it stands for: one for each prompt."""

from dataclasses import replace
from typing import Any

from hutch.api.limits import MAX_ANSWERS, checked_token_ids
from hutch.api.openai_wire import DEFAULTS, SampledBody, ranged
from hutch.core.chat import GenerateRequest
from hutch.core.errors import BadInput
from hutch.core.names import ModelName

_MAX_BEST_OF = 20
_NO_PROMPT = "<|endoftext|>"  # which stands between documents: the model begins one
_DEFAULTS = replace(DEFAULTS, max_tokens=16)  # which is OpenAI's; a model's own num_predict comes before it


class CompletionBody(SampledBody):
    """`POST /v1/completions`."""

    prompt: str | list[str] | list[int] | list[list[int]] | None = None
    logprobs: int | None = None
    suffix: str | None = None
    echo: bool | None = None
    best_of: int | None = None

    def internal(self) -> tuple[GenerateRequest, ...]:
        """The requests as Hutch knows them: each prompt goes to the model as it stands. Raises BadInput."""
        ranged("logprobs", self.logprobs, 0, 5)
        if self.echo and self.suffix:
            raise BadInput("echo: it cannot be had together with suffix", param="echo")
        num = self._num_written()
        prompts = self._prompts()
        if len(prompts) * num > MAX_ANSWERS:
            raise BadInput(
                f"prompt: {len(prompts)} prompts with {num} answers each are more than {MAX_ANSWERS} answers",
                hint="Send several requests.",
                param="prompt",
            )
        sampling = self.sampling(self.max_tokens)
        model, form = ModelName.parse(self.model), self.form()
        return tuple(
            GenerateRequest(
                model=model,
                prompt=prompt,
                suffix=self.suffix or "",
                sampling=sampling,
                dialect_defaults=_DEFAULTS,
                response_format=form,
                top_logprobs=0 if self.logprobs is None and num > self.num_choices else self.logprobs,
                truncate=False,
                echo=bool(self.echo),
                num_choices=num,
            )
            for prompt in prompts
        )

    def _num_written(self) -> int:
        """How many answers to a prompt are written; the best of them are given."""
        if self.best_of is None:
            return self.num_choices
        ranged("best_of", self.best_of, 1, _MAX_BEST_OF)
        if self.best_of < self.num_choices:
            raise BadInput("best_of: it must be at least n", param="best_of")
        if self.stream and self.best_of > self.num_choices:
            raise BadInput(
                "best_of: the best answers are known at their end and cannot be streamed", param="best_of"
            )
        return self.best_of

    def _prompts(self) -> tuple[str | tuple[int, ...], ...]:
        given: Any = _NO_PROMPT if self.prompt is None else self.prompt
        several = given if isinstance(given, list) and given and not isinstance(given[0], int) else [given]
        for index, prompt in enumerate(several):
            if not prompt and not self.suffix:
                where = f"prompt.{index}" if len(several) > 1 else "prompt"
                raise BadInput(f"{where}: it is empty", param="prompt")
        return tuple(
            prompt if isinstance(prompt, str) else checked_token_ids(prompt, "prompt") for prompt in several
        )
