"""``python -m capivara_cli`` is the same program as ``capivara``."""

from capivara_cli.cli import main

if __name__ == "__main__":
    main()
