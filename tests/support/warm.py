"""``capivara`` without its imports: a server that has torch and open_clip imported forks for each command line.

A command that loads a model spends most of its seconds on imports. ``CAPIVARA`` in place of ``python -m capivara_cli``
is this file as a client. It sends its words, folder, environment and standard streams to the server, which forks a
process for them; words that begin with ``-m MODULE`` or ``-c CODE`` run another program. The client hands on signals
to that process and ends as it ends. The first client starts the server, which ends with the pytest that named its
socket (see conftest.py).

A fresh interpreter runs the command where there is no such socket, and where a variable that libraries read on import
differs from the server's. Use ``FRESH`` in tests of what an interpreter of its own decides: imports, hash seeds,
limits, memory, process trees.
"""

from __future__ import annotations

import contextlib
import marshal
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping

FRESH = [sys.executable, "-m", "capivara_cli"]
CAPIVARA = [sys.executable, "-I", "-S", os.path.abspath(__file__)]
SOCKET, OWNER = "CAPIVARA_TESTS_SOCKET", "CAPIVARA_TESTS_PROCESS"
READ_ON_IMPORT = ("HF_", "TRANSFORMERS_", "TORCH", "OMP_", "MKL_", "OPENBLAS_", "CUDA", "PYTHON", "LC_", "LANG")
_NOT_READ = (b"HF_TOKEN", b"PYTHONBREAKPOINT")  # Ray sets the second one
FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
Request = tuple[list[bytes], bytes, dict[bytes, bytes]]


def prepare(folder: str) -> None:
    """Name the socket of the server that clients start, with the environment of the tests as it is now."""
    os.environ[SOCKET], os.environ[OWNER] = f"{folder}/warm", str(os.getpid())
    with open(f"{folder}/warm.environment", "wb") as out:
        marshal.dump(dict(os.environb), out)


def shell_function() -> str:
    """The definition of ``capivara`` for a bash script."""
    return "capivara() { " + " ".join(f"'{word}'" for word in CAPIVARA) + ' "$@"; }\n'


def client(words: list[str]) -> int:
    """Have a command line run by the server; returns its exit code, or dies of the signal it died of."""
    place = os.environ.get(SOCKET)
    if not place:
        return fresh(words)
    server = connected(place)
    request: Request = ([os.fsencode(word) for word in words], os.getcwdb(), dict(os.environb))
    data = marshal.dumps(request)
    socket.send_fds(server, [len(data).to_bytes(8, "little")], [0, 1, 2])
    server.sendall(data)
    child = int.from_bytes(received(server, 8), "little")
    if not child:
        return fresh(words)
    for number in FORWARDED:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda number, _: os.kill(child, number))
    status = int.from_bytes(received(server, 8), "little")
    if os.WIFSIGNALED(status):
        signal.signal(os.WTERMSIG(status), signal.SIG_DFL) if os.WTERMSIG(status) != signal.SIGKILL else None
        os.kill(os.getpid(), os.WTERMSIG(status))
    return os.waitstatus_to_exitcode(status)


def fresh(words: list[str]) -> int:
    os.execv(FRESH[0], [FRESH[0], *words] if words[:1] in (["-m"], ["-c"]) else [*FRESH, *words])


def connected(place: str) -> socket.socket:
    """A connection to the server, which is started where there is none."""
    import fcntl

    with open(f"{place}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (found := _connection(place)) is None:
            start(place)
            while (found := _connection(place)) is None:
                time.sleep(0.05)
    return found


def _connection(place: str) -> socket.socket | None:
    found = socket.socket(socket.AF_UNIX)
    try:
        found.connect(place)
    except (FileNotFoundError, ConnectionRefusedError):
        found.close()
        return None
    return found


def start(place: str) -> None:
    """Start the server in a session of its own, so that no signal to the tests' group reaches it."""
    import subprocess

    words = [sys.executable, os.path.abspath(__file__), "--serve", place]
    with open(f"{place}.log", "ab") as log, open(f"{place}.environment", "rb") as environment:
        given = marshal.load(environment)  # not the client's, which is that of one test
        subprocess.Popen(words, env=given, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)


def received(connection: socket.socket, count: int) -> bytes:
    parts = b""
    while len(parts) < count:
        part = connection.recv(count - len(parts))
        if not part:
            raise ConnectionResetError
        parts += part
    return parts


def serve(place: str) -> None:
    """Import what commands import, then fork for every request until the tests are over."""
    import gc
    import selectors

    import huge_pages  # the folder of a program is on the path

    sys.path[0] = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    started_with = read_on_import(os.environb)  # libraries add to it
    _import()
    gc.freeze()
    huge_pages.collapse()
    owner = int(os.environ[OWNER])
    signal.signal(signal.SIGCHLD, lambda *_: None)
    wakes, waker = socket.socketpair()
    wakes.setblocking(False)
    waker.setblocking(False)
    signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(f"{place}.new")
    listening.listen(64)
    os.rename(f"{place}.new", place)
    children: dict[int, socket.socket] = {}
    with selectors.DefaultSelector() as selector:
        for each in (listening, wakes):
            selector.register(each, selectors.EVENT_READ)
        while _is_alive(owner):
            for key, _ in selector.select(timeout=1):
                if key.fileobj is listening:
                    connection = listening.accept()[0]
                    if child := _begun(connection, started_with, (listening, wakes, waker, *children.values())):
                        children[child] = connection
                        selector.register(connection, selectors.EVENT_READ, child)
                elif key.fileobj is wakes:
                    wakes.recv(4096)
                elif key.data in children:  # a client says nothing: it is gone, and so goes its command
                    os.kill(key.data, signal.SIGKILL)
                    selector.unregister(key.fileobj)
            for child, status in _ended():
                connection = children.pop(child)
                if connection in selector.get_map():
                    selector.unregister(connection)
                    _sent(connection, status)
                connection.close()


def _import() -> None:
    import importlib

    names = ["torch", "open_clip", "transformers", "peft", "ctranslate2", "sentencepiece", "tokenizers", "PIL.Image",
             "safetensors.torch", "matplotlib", "torchvision.transforms", "torch._dynamo",
             "transformers.modeling_utils", "transformers.generation", "s3fs", "typer._adapters", "matplotlib.figure",
             "matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg", "jinja2",
             "transformers.models.auto.image_processing_auto",
             "transformers.models.xlm_roberta.modeling_xlm_roberta", "xxhash", "pillow_heif",
             "torch.utils.serialization"]  # fmt: skip
    for name in names:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    with contextlib.suppress(ImportError, AttributeError):  # peft asks for this table, which is built once a process
        table = importlib.import_module("transformers.conversion_mapping")
        table.get_checkpoint_conversion_mapping("")
    _import_the_program()


def _import_the_program() -> None:
    """Whatever is wrong with a module is an error of the command that needs it, not of the server."""
    import importlib

    with contextlib.suppress(Exception):
        commands = importlib.import_module("capivara_cli.registry").command_names()
        for name in ["cli.app", "cli.perform", *(f"{folder}.{command}" for command, folder in commands.items())]:
            with contextlib.suppress(Exception):
                importlib.import_module(f"capivara_cli.{name}")
        importlib.import_module("capivara_cli.languages.identify").supported_codes()  # unpacks a model, in 0.5 s


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def _begun(connection: socket.socket, started_with: dict[bytes, bytes], others: tuple[socket.socket, ...]) -> int:
    """Fork for the request on a new connection; returns the child, or 0 for one that needs its own interpreter."""
    try:
        size, streams, _, _ = socket.recv_fds(connection, 8, 3)
        request: Request = marshal.loads(received(connection, int.from_bytes(size, "little")))
    except ConnectionResetError:
        connection.close()
        return 0
    child = 0
    if read_on_import(request[2]) == started_with:
        child = os.fork()
        if not child:
            for each in (connection, *others):
                each.close()
            _run(request, streams)
    for stream in streams:
        os.close(stream)
    _sent(connection, child)
    if not child:
        connection.close()
    return child


def read_on_import(environment: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """The variables that libraries read on import: a command with others than the server's is not run by it."""
    names = tuple(os.fsencode(name) for name in READ_ON_IMPORT)
    return {name: value for name, value in environment.items() if name.startswith(names) and name not in _NOT_READ}


def _sent(connection: socket.socket, number: int) -> None:
    with contextlib.suppress(OSError):  # the client is gone
        connection.sendall(number.to_bytes(8, "little"))


def _ended() -> list[tuple[int, int]]:
    found = []
    while True:
        try:
            child, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            break
        if not child:
            break
        found.append((child, status))
    return found


def _run(request: Request, streams: list[int]) -> None:
    """In the fork: be ``python -m capivara_cli`` with these words, folder, environment and streams."""
    words, folder, environment = request
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            if stream > 2:
                os.close(stream)
        sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)
        sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)
        os.chdir(folder)
        os.environ.clear()
        os.environb.update(environment)
        sys.argv = [f"{sys.path[0]}/capivara_cli/__main__.py", *map(os.fsdecode, words)]
        code = _main()
    except BaseException:  # noqa: BLE001  as the interpreter shows it
        import traceback

        traceback.print_exc()
    finally:
        os._exit(code)


def _main() -> int:
    import atexit
    import runpy
    import threading

    from capivara_cli.__main__ import main

    code = 0
    try:
        if sys.argv[1:2] == ["-m"]:
            runpy.run_module(sys.argv[2], run_name="__main__", alter_sys=True)
        elif sys.argv[1:2] == ["-c"]:
            source = sys.argv.pop(2)
            del sys.argv[0]
            exec(source, {"__name__": "__main__"})
        else:
            main()
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            code = code or 120  # as the interpreter
    return code


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2])
    else:
        sys.exit(client(sys.argv[1:]))
