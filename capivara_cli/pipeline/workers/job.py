"""A run as JSON: what a worker in another process or on another machine needs to know to do its part."""

from __future__ import annotations

import importlib
import json
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from capivara_cli.costs.costs import Costs
from capivara_cli.errors import CapivaraError
from capivara_cli.pipeline import partition
from capivara_cli.pipeline.books import Watch
from capivara_cli.pipeline.chain import Chain
from capivara_cli.pipeline.options import Settings, build, option_values
from capivara_cli.pipeline.partition import Share
from capivara_cli.pipeline.passes import Passes
from capivara_cli.pipeline.stage import Stage, Step


@dataclass(frozen=True)
class Job:
    """The plan, the shards, the names of what is made of them, and the folder. Stages are named, never sent."""

    steps: list[dict[str, Any]]
    settings: dict[str, Any]
    shards: list[str]
    names: list[str]
    folder: str
    share: str
    fingerprint: str
    command: list[str]

    @classmethod
    def of(cls, passes: Passes, share: Share) -> Job:
        """What is left to do of ``passes``."""
        chain = passes.chain
        steps = [{"stage": _name_of(step.stage), "options": option_values(step.options)} for step in chain.steps]
        settings = replace(chain.settings, workers=1, engine="local")
        return cls(
            steps,
            asdict(settings),
            list(passes.shards),
            list(passes.names),
            str(passes.folder),
            share.text,
            passes.mark,
            sys.argv,
        )

    @property
    def indices(self) -> range:
        """The shards that are to be made."""
        number, of = partition.parse(self.share)
        return Share(number, of, len(self.shards)).indices

    def text(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def parse(cls, text: str | bytes) -> Job:
        return cls(**json.loads(text))

    def chain(self, costs: Costs) -> Chain:
        """The plan, ready to run in this process."""
        steps = [_step(each["stage"], each["options"]) for each in self.steps]
        chain = Chain(steps, Settings(**self.settings), costs)
        chain.check()
        return chain

    def passes(self, chain: Chain, watch: Watch, dead: frozenset[str] = frozenset()) -> Passes:
        """What is to be made, with the models of ``chain``."""
        return Passes(chain, self.shards, self.names, Path(self.folder), watch, self.fingerprint, dead)


def _name_of(stage: Stage) -> str:
    name = f"{stage.run.__module__}:{stage.run.__qualname__}"
    try:
        found = _stage(name)
    except (ImportError, AttributeError):
        found = None
    if found is not stage:
        raise CapivaraError(f"{stage.name}: is not found in a module, so no other process can run it ({name})")
    return name


def _stage(name: str) -> Any:
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _step(name: str, options: dict[str, Any]) -> Step:
    stage: Stage = _stage(name)
    return Step(stage, build(stage.options, **options))
