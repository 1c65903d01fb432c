"""A run as JSON, for workers in other processes and on other machines."""

from __future__ import annotations

import importlib
import json
import sys
from dataclasses import asdict, dataclass, replace
from typing import Any

from capivara_cli.costs.costs import Costs
from capivara_cli.errors import CapivaraError
from capivara_cli.pipeline import partition
from capivara_cli.pipeline.books import Books
from capivara_cli.pipeline.chain import Chain
from capivara_cli.pipeline.fingerprint import PlanIdentity
from capivara_cli.pipeline.options import Settings, build, option_values
from capivara_cli.pipeline.partition import Share
from capivara_cli.pipeline.sharded_plan import ShardedPlan
from capivara_cli.pipeline.stage import Stage, Step
from capivara_cli.pipeline.stores import store_of
from capivara_cli.registry import load_command
from capivara_cli.storage.claims import Claimant


@dataclass(frozen=True)
class Job:
    """The steps, the input shards, the names of the output shards, and their folder. Stages are sent by name.

    ``command`` is the command line of the run, which is shown in the claims of workers.
    """

    steps: list[dict[str, Any]]
    settings: dict[str, Any]
    shards: list[str]
    names: list[str]
    folder: str
    share: str
    fingerprint: str
    command: list[str]

    @classmethod
    def of(cls, plan: ShardedPlan, share: Share) -> Job:
        """The job of workers that write a share of a plan. Raises ``CapivaraError`` for a stage without a name."""
        chain = plan.chain
        steps = [{"stage": _name_of(step.stage), "options": option_values(step.options)} for step in chain.steps]
        settings = replace(chain.settings, workers=1, engine="local", overwrite=False)
        return cls(
            steps,
            asdict(settings),
            list(plan.shards),
            list(plan.names),
            plan.out.store.display_name,
            share.text,
            plan.fingerprint,
            sys.argv,
        )

    @property
    def indices(self) -> range:
        """The indices of the shards to write, from 0."""
        number, of = partition.parse(self.share)
        return Share(number, of, len(self.shards)).indices

    def text(self) -> str:
        """The job as one line of JSON, for ``parse``."""
        return json.dumps(asdict(self))

    @classmethod
    def parse(cls, text: str | bytes) -> Job:
        return cls(**json.loads(text))

    def chain(self, costs: Costs) -> Chain:
        """The steps, loaded in this process and checked."""
        steps = [_step(each["stage"], each["options"]) for each in self.steps]
        chain = Chain(steps, Settings(**self.settings), costs)
        chain.check()
        return chain

    def plan(self, chain: Chain, books: Books, dead: frozenset[str] = frozenset()) -> ShardedPlan:
        """The plan over the shards with the steps of ``chain``; ``dead`` are holders of claims, as "host:pid"."""
        store = store_of(self.folder, self.fingerprint, Claimant(" ".join(self.command), dead))
        return ShardedPlan(chain, self.shards, self.names, store, books, PlanIdentity(self.fingerprint))


def _name_of(stage: Stage) -> str:
    """``module:attribute``, by which another process can import the stage; ``:name`` for one of another package."""
    if stage.origin is not None:
        return f":{stage.name}"
    name = f"{stage.run.__module__}:{stage.run.__qualname__}"
    try:
        found = _stage(name)
    except (ImportError, AttributeError):
        found = None
    if found is not stage:
        raise CapivaraError(f"{stage.name}: cannot be imported by name, so worker processes cannot run it ({name})")
    return name


def _stage(name: str) -> Any:
    module, _, attribute = name.partition(":")
    if not module:
        return load_command(attribute)
    return getattr(importlib.import_module(module), attribute)


def _step(name: str, options: dict[str, Any]) -> Step:
    stage: Stage = _stage(name)
    return Step(stage, build(stage.options, **options))
