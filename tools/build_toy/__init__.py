"""Rebuild the toy models: `python -m tools.build_toy OUT [clip captioner translators rewriter]`.

Each part is a module of this package with `build(out: Path, seed: int = 0) -> None`, which writes the folder
`out/<part>`. Without a part, all are built. The models are trained from scratch on two CPU cores in minutes, on the
scenes and sentences of `capivara_cli.toy` only; nothing is downloaded.
"""
