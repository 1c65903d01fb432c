"""Rebuild the toy models: `python -m tools.build_toy OUT [clip captioner translators rewriter]`.

Each part is a module of this package with `build(out: Path, seed: int = 0) -> None`, which writes the folder
`out/<part>`. All parts are built when none is named. Everything is trained from scratch on two CPU cores
in minutes, from the scenes and sentences of `capivara_cli.toy` alone; nothing is downloaded.
"""
