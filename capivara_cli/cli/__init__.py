"""The program: its help, its Typer app, and command lines performed or estimated."""
