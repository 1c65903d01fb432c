"""Charts that were drawn before: the same data give the same bytes, and drawing takes a second for each page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from capivara_cli.reports.page import charts


@pytest.fixture(scope="module", autouse=True)
def drawn() -> Iterator[dict[str, Any]]:
    """A chart of the same function, data and texts is drawn once; what is taken out of here is drawn again."""
    known: dict[str, Any] = {}
    draw_it = charts._svg

    def svg(draw: Callable[[Any], None], inches: tuple[float, float], alt: str, **given: Any) -> Any:
        data = [cell.cell_contents for cell in draw.__closure__ or ()]
        key = repr((draw.__qualname__, data, inches, alt, given))
        if " at 0x" in key:  # of what has no better name than its place
            return draw_it(draw, inches, alt, **given)
        if key not in known:
            known[key] = draw_it(draw, inches, alt, **given)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(charts, "_svg", svg)
        yield known
