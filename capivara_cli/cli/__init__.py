"""The program: its help, its Typer app, and a command line performed or rehearsed."""
