"""The search: candidates made, compared with their source, timed on this machine, and one of them chosen."""

import platform
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import hutch
from hutch.core.errors import BadInput, EngineFailed, NotBuilt
from hutch.core.models import Progress
from hutch.optimize import choice, libraries, recipes, variant
from hutch.optimize.choice import Outcome
from hutch.optimize.gate import Accuracy, Gate
from hutch.optimize.making import Workshop
from hutch.optimize.recipes import Recipe
from hutch.optimize.records import Records, digest
from hutch.optimize.source import Source
from hutch.optimize.speed import METHOD, Speed, measure, settings_facts
from hutch.optimize.variant import Variant
from hutch.runtime import machine
from hutch.store import quantize

Making = Generator[Progress, None, Variant]
_ENGINES = ("xllamacpp", "onnxruntime")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a person asked for. `texts` are what models are compared on; `quant` is empty for a search."""

    format: str = ""
    quant: str = ""
    texts: tuple[str, ...] = ()
    gate: Gate = field(default_factory=Gate)


@dataclass(frozen=True, slots=True)
class Report:
    """What a search found. `made` is the chosen variant's files; None where the source itself, or nothing, was chosen."""

    source: str
    gate: Gate
    outcomes: tuple[Outcome, ...]
    chosen: Outcome | None
    made: Variant | None

    def as_json(self) -> dict[str, Any]:
        """For programs and for the history."""
        return {
            "source": self.source,
            "machine": machine_facts(),
            "gate": asdict(self.gate),
            "candidates": [
                {**asdict(each), "passes": each.passes, "score": each.speed.score if each.speed else None}
                for each in self.outcomes
            ],
            "pareto": [each.name for each in choice.pareto(self.outcomes)],
            "chosen": self.chosen.name if self.chosen else None,
        }


class Search:
    """One search in one workshop. What it has found stays, also where it is broken off."""

    def __init__(self, root: Path, source: Source, wanted: Wanted) -> None:
        self._source, self._wanted = source, wanted
        self._records = Records(root)
        self._shop = Workshop(root / "work" / source.digest[:16], source, root / "job.log")

    def run(self) -> Generator[Progress, None, Report]:
        """Try every candidate. Raises NotBuilt where a library is missing. `alone` has to be held."""
        libraries.check()
        tried = yield from self._candidates()
        outcomes = (
            [] if self._source.kind == "folder" or self._wanted.quant else [(yield from self._of_source())]
        )
        for number, recipe in enumerate(tried, 1):
            yield Progress(f"candidate {number} of {len(tried)}: {recipe.name}")
            outcomes.append((yield from self._try(recipe)))
            self._keep_only(choice.chosen(outcomes), tried[:number])
        best = choice.chosen(outcomes)
        made = None
        if best is not None and not best.is_source:
            recipe = next(each for each in tried if each.name == best.name)
            made = yield from self._shop.made(recipe)
        return Report(self._source.label, self._wanted.gate, tuple(outcomes), best, made)

    def _keep_only(self, best: Outcome | None, tried: Sequence[Recipe]) -> None:
        """Free what those take that were not the best so far: a large model fills a disk with all of them."""
        for recipe in tried:
            if best is None or recipe.name != best.name:
                self._shop.forget(recipe)

    def judged(self, name: str, made: Variant) -> Generator[Progress, None, Report]:
        """Compare and time a variant that was made elsewhere. `alone` has to be held."""
        of = {"made": variant.digest(made)}
        accuracy, size_bytes = yield from self._accuracy(of, lambda: _at_once(made))
        objections = self._wanted.gate.objections(accuracy)
        outcome = Outcome(name, made.format, size_bytes, accuracy, objections=objections)
        outcome = yield from self._timed(outcome, {"source": self._source.digest, **of}, made)
        best = choice.chosen([outcome])
        return Report(self._source.label, self._wanted.gate, (outcome,), best, made if best else None)

    def clean(self) -> None:
        """Remove everything but the findings."""
        self._shop.clean()

    def _candidates(self) -> Generator[Progress, None, tuple[Recipe, ...]]:
        if self._source.kind == "onnx":
            known = recipes.for_graph(is_float=(yield from self._shop.is_float()))
        else:
            known = recipes.for_weights(recipes.ggml_types(has_binary=quantize.binary() is not None))
        return recipes.only(known, self._wanted.format, self._wanted.quant)

    def _of_source(self) -> Generator[Progress, None, Outcome]:
        accuracy = Accuracy(0.0, 1.0, self._wanted.gate.min_tokens)  # to itself
        outcome = Outcome(
            f"{self._source.label} as it is",
            self._source.kind,
            self._source.size_bytes,
            accuracy,
            is_source=True,
        )
        made = Variant(self._source.kind, self._source.files)
        try:
            return (yield from self._timed(outcome, {"source": self._source.digest}, made))
        except (BadInput, EngineFailed, NotBuilt) as error:
            return replace(outcome, problem=error.message)

    def _try(self, recipe: Recipe) -> Generator[Progress, None, Outcome]:
        """Make, compare and time one candidate. What goes wrong with it is told in its line; the others go on."""
        outcome = Outcome(recipe.name, recipe.format)
        try:
            made = partial(self._shop.made, recipe)
            accuracy, size_bytes = yield from self._accuracy({"recipe": recipe.spec}, made)
            outcome = replace(
                outcome,
                accuracy=accuracy,
                size_bytes=size_bytes,
                objections=self._wanted.gate.objections(accuracy),
            )
            inputs = {"source": self._source.digest, "recipe": recipe.spec}
            return (yield from self._timed(outcome, inputs, recipe))
        except (BadInput, EngineFailed, NotBuilt) as error:
            if self._wanted.quant:  # there is no other candidate
                raise
            return replace(outcome, problem=error.message)

    def _accuracy(
        self, of: Mapping[str, Any], make: Callable[[], Making]
    ) -> Generator[Progress, None, tuple[Accuracy, int]]:
        inputs = {
            "what": "accuracy",
            "source": self._source.digest,
            **of,
            "texts": digest(list(self._wanted.texts)),
            "versions": libraries.versions((*libraries.PACKAGES, *_ENGINES)),
        }
        known = self._records.known(inputs)
        if known is None:
            made = yield from make()
            found = yield from self._shop.accuracy(made, self._wanted.texts)
            known = {**found, "size_bytes": made.size_bytes}
            self._records.keep(inputs, known)
        return Accuracy.of(known), int(known["size_bytes"])

    def _timed(
        self, outcome: Outcome, of: Mapping[str, Any], what: Recipe | Variant
    ) -> Generator[Progress, None, Outcome]:
        versions = libraries.versions(_ENGINES)
        inputs = {
            "what": "speed",
            "method": METHOD,
            **of,
            "machine": machine_facts(),
            "versions": versions,
            "settings": settings_facts(),
        }
        known = self._records.known(inputs)
        if known is None:
            made = what if isinstance(what, Variant) else (yield from self._shop.made(what))
            store, name = yield from self._shop.stored(made)
            yield Progress(f"timing {outcome.name}")
            try:
                known = asdict(measure(store, name))
            finally:
                store.delete(name)
            self._records.keep(inputs, known)
        return replace(outcome, speed=Speed.of(known))


def _at_once(made: Variant) -> Making:
    """What is made already."""
    yield from ()
    return made


def machine_facts() -> dict[str, Any]:
    """What a speed depends on of this machine, as far as it can be told."""
    return {
        "processor": _processor(),
        "cores": machine.num_cores(),
        "memory_gib": round(machine.memory_bytes()[1] / (1 << 30)),
        "system": platform.system(),
        "hutch": hutch.__version__,
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
