"""HTML from the Jinja2 templates in the folder beside this file."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

_UNUSABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters (except tab and newline) and lone surrogates, which HTML and UTF-8 cannot hold."""


def render(name: str, **values: Any) -> Markup:
    """Fill in a template. Every value is escaped, unless it is ``Markup``; control characters become U+FFFD.

    Raises ``jinja2.UndefinedError`` for a value that the template uses and that is not given.
    """
    from markupsafe import Markup

    return Markup(_UNUSABLE.sub("\ufffd", _environment().get_template(name).render(values)))


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(Path(__file__).with_suffix("")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
