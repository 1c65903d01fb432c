"""Charts of the report that were drawn before: the same data give the same bytes, and drawing takes seconds a page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from capivara_cli.reports.page import charts

DRAWN: dict[str, Any] = {}


def keep(patch: pytest.MonkeyPatch) -> None:
    """A chart of the same function, data and texts is drawn once in this process."""
    draw_it = charts._svg

    def svg(draw: Callable[[Any], None], inches: tuple[float, float], alt: str, **given: Any) -> Any:
        data = [cell.cell_contents for cell in draw.__closure__ or ()]
        key = repr((draw.__qualname__, data, inches, alt, given))
        if key not in DRAWN:
            DRAWN[key] = draw_it(draw, inches, alt, **given)
        return DRAWN[key]

    patch.setattr(charts, "_svg", svg)
