"""Read the ``adapter_config.json`` of an adapter folder: peft's, or that of a method of capivara's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

from capivara_cli.errors import CapivaraError
from capivara_cli.models.adapters.tuning import Tuning, lora_extras
from capivara_cli.models.clip_files import ADAPTER
from capivara_cli.pipeline.options import check_options, flag_of, option_types, option_values

OWN = "capivara"
"""The key under which capivara describes a method that peft does not have."""
_HINT = "restore it, or train again"


def read(folder: Path) -> dict[str, Any]:
    """The configuration of an adapter. Raises ``CapivaraError`` that names the file if it is damaged."""
    path = folder / ADAPTER
    try:
        config: dict[str, Any] = json.loads(path.read_bytes())
        if not isinstance(config, dict) or not isinstance(config.get(OWN, {}), dict):
            raise ValueError("not a configuration of an adapter")
    except (FileNotFoundError, ValueError) as error:
        raise CapivaraError(f"{path}: damaged: {error}", _HINT) from error
    return config


def tuning_of(folder: Path, norms: str) -> Tuning:
    """The tuning of the adapter in a folder, to start another one from it. ``norms``: the end of LayerNorms' names.

    Raises ``CapivaraError`` for a method of peft that capivara does not have, and for a damaged configuration.
    """
    config = read(folder)
    try:
        tuning = Tuning.from_json(config[OWN]) if OWN in config else _of_peft(config, folder, norms)
        _check(tuning)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise CapivaraError(f"{folder / ADAPTER}: damaged: {what}", _HINT) from error
    return tuning


def _of_peft(config: dict[str, Any], folder: Path, norms: str) -> Tuning:
    whole = config.get("modules_to_save") or []
    if config.get("peft_type") == "LN_TUNING":
        return Tuning("layernorm", projection="proj" in whole)
    if config.get("peft_type") != "LORA":
        raise CapivaraError(f"{folder}: {config.get('peft_type')}: only adapters of LoRA and LN tuning can be resumed")
    targets = config["target_modules"]
    return Tuning(
        lora_r=config["r"],
        lora_alpha=config["lora_alpha"],
        lora_dropout=config["lora_dropout"],
        lora_targets=targets if isinstance(targets, str) else ",".join(sorted(targets)),
        projection="proj" in whole,
        layernorm=norms in whole,
        **lora_extras(config),
    )


def _check(tuning: Tuning) -> None:
    """Raise ``ValueError`` for a setting of another type or out of its bounds."""
    defaults = option_values(Tuning())
    for name, value in option_values(tuning).items():
        default = defaults[name]
        kinds = (bool, type(None)) if default is None else (int, float) if isinstance(default, float) else type(default)
        if not isinstance(value, kinds) or (isinstance(value, bool) and default is not None):
            raise ValueError(f"{flag_of(name)[2:]} is {value!r}")
    if tuning.peft not in get_args(option_types(Tuning)["peft"]):
        raise ValueError(f"method is {tuning.peft!r}")
    try:
        check_options(tuning)
    except CapivaraError as error:
        raise ValueError(error.message.removeprefix("--")) from error
