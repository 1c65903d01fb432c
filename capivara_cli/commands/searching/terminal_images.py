"""Shows images in a terminal, by the protocols of kitty and iTerm2."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

KITTY = "kitty"  # https://sw.kovidgoyal.net/kitty/graphics-protocol/
ITERM = "iterm"  # https://iterm2.com/documentation-images.html
ROWS = 10
"""Height of an image, in lines of text."""
_SIDE = 320  # most pixels of width and height
_PIECE = 4096  # bytes of base64 in one escape sequence of kitty's protocol

_BY_PROGRAM = {"ghostty": KITTY, "iTerm.app": ITERM, "WezTerm": ITERM, "mintty": ITERM}
_BY_TERM = {"xterm-kitty": KITTY, "xterm-ghostty": KITTY}


def protocol(environment: Mapping[str, str]) -> str:
    """The protocol of this terminal by its environment variables, ``KITTY`` or ``ITERM``; "" for neither.

    Always "" inside tmux and screen, which do not pass images on.
    """
    term = environment.get("TERM", "")
    if environment.get("TMUX") or term.startswith(("screen", "tmux")):
        return ""
    if environment.get("KITTY_WINDOW_ID"):
        return KITTY
    program = environment.get("TERM_PROGRAM", "")
    if environment.get("LC_TERMINAL") == "iTerm2":  # iTerm2 sets it for ssh sessions too
        return ITERM
    return _BY_PROGRAM.get(program) or _BY_TERM.get(term, "")


def escape_sequence(image: Image, protocol: str) -> str:
    """The escape sequence that shows the image in the terminal, ``ROWS`` lines high."""
    small = image.copy()
    small.thumbnail((_SIDE, _SIDE))
    out = io.BytesIO()
    small.save(out, "PNG")
    data = base64.b64encode(out.getvalue()).decode()
    return _kitty(data) if protocol == KITTY else _iterm(data, len(out.getvalue()))


def _kitty(data: str) -> str:
    """Transmit and display (a=T) a PNG (f=100) in pieces (m=1: more follow), without a reply (q=2)."""
    pieces = [data[start : start + _PIECE] for start in range(0, len(data), _PIECE)]
    lines = []
    for number, piece in enumerate(pieces):
        control = f"a=T,f=100,q=2,r={ROWS}," if number == 0 else ""
        lines.append(f"\x1b_G{control}m={int(number < len(pieces) - 1)};{piece}\x1b\\")
    return "".join(lines)


def _iterm(data: str, size: int) -> str:
    return f"\x1b]1337;File=inline=1;size={size};height={ROWS};preserveAspectRatio=1:{data}\x07"
