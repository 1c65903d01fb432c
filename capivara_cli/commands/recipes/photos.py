"""The photos of ``adapt``: packed again when they have changed, and whether the held-out ones have captions."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from capivara_cli import console
from capivara_cli.cli.parameters import parse_command
from capivara_cli.errors import BadSample, CapivaraError
from capivara_cli.models.run_folder import RunDir
from capivara_cli.pipeline.chain import Chain
from capivara_cli.pipeline.fingerprint import fingerprint
from capivara_cli.pipeline.options import Settings
from capivara_cli.pipeline.stage import Stage, Step
from capivara_cli.shards.archive import open_shard
from capivara_cli.shards.inputs import find_shards
from capivara_cli.shards.manifest import MANIFEST, Manifest


def remove_outdated(words: Sequence[str], settings: Settings, runs: Sequence[str]) -> None:
    """Remove the shards that a ``pack`` command line wrote, if its photos have changed since; others stay.

    Raises ``CapivaraError`` if one of the runs was trained on these shards: what it learned cannot be removed.
    """
    invocation = parse_command(words, settings)
    folder = Path(invocation.settings.out)
    manifest = Manifest.load(folder) if folder.is_dir() else None
    if manifest is None or not isinstance(invocation.command, Stage):
        return
    chain = Chain([Step(invocation.command, invocation.options)], invocation.settings)
    chain.envs[0].inputs = list(invocation.inputs)
    asked = json.dumps(manifest.plan) == json.dumps(chain.described)
    if not asked or manifest.fingerprint == fingerprint(chain):
        return
    for run in map(RunDir, map(Path, runs)):
        if run.begun:
            raise CapivaraError(
                f"{run}: was trained on {', '.join(invocation.inputs)} before files were added, removed or changed",
                "choose another name with --name, or delete that folder to train again",
            )
    console.say(f"{folder}: the photos have changed, so they are packed again")
    for name in [*manifest.done, MANIFEST]:
        (folder / name).unlink(missing_ok=True)


def has_captions(shards: Sequence[str], is_held_out: Callable[[str], bool]) -> bool:
    """Whether a held-out image in the shards has a caption."""
    for shard in find_shards(shards):
        with open_shard(shard) as reader:
            for sample in reader:
                try:
                    if is_held_out(sample.key) and any(caption.text.strip() for caption in sample.captions):
                        return True
                except BadSample:  # counted where it is read
                    continue
    return False
