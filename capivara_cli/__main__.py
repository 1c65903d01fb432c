"""The program: ``capivara``, or ``python -m capivara_cli``."""

from __future__ import annotations

import sys

from capivara_cli import __version__


def main() -> None:
    """Show the overview or the version, or hand over to the Typer app."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in {"-h", "--help"}:
        from capivara_cli.cli.overview import help_page

        sys.stdout.write(help_page())
    elif arguments[0] == "--version":
        sys.stdout.write(f"capivara {__version__}\n")
    else:
        from capivara_cli.cli.app import main as run

        run(arguments)


if __name__ == "__main__":
    main()
