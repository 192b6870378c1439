"""merkl, a build tool for work that is half shell commands and half Python.

These are the names for Merklfiles and scripts.  Each is imported when it is first used, so that ``import merkl`` costs
nothing; errors are in ``merkl.errors``.
"""

__version__ = "0.1.0"

_HOMES = {
    "Eval": "merkl.nodes",
    "Future": "merkl.nodes",
    "task": "merkl.python.task",
    "batch": "merkl.python.batch",
    "HashMode": "merkl.python.code",
    "pip_version_of": "merkl.python.versions",
    "find_pip_version": "merkl.python.versions",
    "MerklDict": "merkl.python.items",
    "MerklList": "merkl.python.items",
    "pipeline": "merkl.python.pipeline",
    "read_future": "merkl.python.named_files",
    "write_future": "merkl.python.named_files",
    "path_future": "merkl.python.named_files",
    "merkl_open": "merkl.python.opened",
    "FileObjectWriteFuture": "merkl.python.opened",
    "FileObjectReadFuture": "merkl.python.opened",
    "metadata": "merkl.python.noting",
    "BaseCache": "merkl.store.caches",
    "CombinedCache": "merkl.store.caches",
    "MemoryCache": "merkl.store.caches",
    "SqliteCache": "merkl.store.caches",
    "S3ContentBackend": "merkl.store.remote.backend",
    "cache_ls": "merkl.programs.recorded",
    "migrate_output_files": "merkl.programs.migrating",
    "register_serializer": "merkl.python.forms",
    "Secret": "merkl.execute.secrets",
    "Serializer": "merkl.store.serializers",
    "WrappedSerializer": "merkl.store.serializers",
    "IdentitySerializer": "merkl.store.serializers",
    "bash_task": "merkl.bash.task",
    "file_arg": "merkl.bash.placeholders",
    "files_arg": "merkl.bash.placeholders",
    "dir_arg": "merkl.bash.placeholders",
    "arg": "merkl.bash.placeholders",
    "flag_arg": "merkl.bash.placeholders",
    "out_file_arg": "merkl.bash.placeholders",
    "out_dir_arg": "merkl.bash.placeholders",
    "depfile_arg": "merkl.bash.placeholders",
    "env_arg": "merkl.bash.placeholders",
    "secret_arg": "merkl.bash.placeholders",
    "argfile": "merkl.bash.placeholders",
    "target": "merkl.merklfile.declare",
    "file": "merkl.merklfile.inputs",
    "files": "merkl.merklfile.inputs",
    "params": "merkl.merklfile.parameters",
    "include": "merkl.merklfile.loader",
    "FileRef": "merkl.workspace.refs",
    "DirRef": "merkl.workspace.refs",
    "combine_file_refs": "merkl.workspace.refs",
    "watch": "merkl.watching.api",
    "build": "merkl.programs.building",
    "building": "merkl.programs.building",
    "graph": "merkl.programs.pictures",
}

__all__ = [
    "BaseCache",
    "CombinedCache",
    "DirRef",
    "Eval",
    "FileObjectReadFuture",
    "FileObjectWriteFuture",
    "FileRef",
    "Future",
    "HashMode",
    "IdentitySerializer",
    "MemoryCache",
    "MerklDict",
    "MerklList",
    "S3ContentBackend",
    "Secret",
    "Serializer",
    "SqliteCache",
    "WrappedSerializer",
    "__version__",
    "arg",
    "argfile",
    "bash_task",
    "batch",
    "build",
    "building",
    "cache_ls",
    "combine_file_refs",
    "depfile_arg",
    "dir_arg",
    "env_arg",
    "file",
    "file_arg",
    "files",
    "files_arg",
    "find_pip_version",
    "flag_arg",
    "graph",
    "include",
    "merkl_open",
    "metadata",
    "migrate_output_files",
    "out_dir_arg",
    "out_file_arg",
    "params",
    "path_future",
    "pip_version_of",
    "pipeline",
    "read_future",
    "register_serializer",
    "secret_arg",
    "target",
    "task",
    "watch",
    "write_future",
]

_WINDOWS = "merkl runs on Linux and macOS; on Windows, run it inside WSL: wsl --install"

TYPE_CHECKING = False  # As in ``typing``, which is not imported for it.
if TYPE_CHECKING:
    from merkl.bash.placeholders import (
        arg,
        argfile,
        depfile_arg,
        dir_arg,
        env_arg,
        file_arg,
        files_arg,
        flag_arg,
        out_dir_arg,
        out_file_arg,
        secret_arg,
    )
    from merkl.bash.task import bash_task
    from merkl.execute.secrets import Secret
    from merkl.merklfile.declare import target
    from merkl.merklfile.inputs import file, files
    from merkl.merklfile.loader import include
    from merkl.merklfile.parameters import params
    from merkl.nodes import Eval, Future
    from merkl.programs.building import build, building
    from merkl.programs.migrating import migrate_output_files
    from merkl.programs.pictures import graph
    from merkl.programs.recorded import cache_ls
    from merkl.python.batch import batch
    from merkl.python.code import HashMode
    from merkl.python.forms import register_serializer
    from merkl.python.items import MerklDict, MerklList
    from merkl.python.named_files import path_future, read_future, write_future
    from merkl.python.noting import metadata
    from merkl.python.opened import FileObjectReadFuture, FileObjectWriteFuture, merkl_open
    from merkl.python.pipeline import pipeline
    from merkl.python.task import task
    from merkl.python.versions import find_pip_version, pip_version_of
    from merkl.store.caches import BaseCache, CombinedCache, MemoryCache, SqliteCache
    from merkl.store.remote.backend import S3ContentBackend
    from merkl.store.serializers import IdentitySerializer, Serializer, WrappedSerializer
    from merkl.watching.api import watch
    from merkl.workspace.refs import DirRef, FileRef, combine_file_refs


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'merkl' has no attribute {name!r}")
    import importlib
    import sys

    if sys.platform == "win32":
        from merkl.errors import UsageError

        raise UsageError(_WINDOWS)
    value: object = getattr(importlib.import_module(home), name)
    globals()[name] = value
    _install_session()
    return value


def __dir__() -> list[str]:
    return [*__all__, "__doc__", "__file__", "__name__", "__path__"]


def _install_session() -> None:
    """Let Futures work outside a build: the engine is imported when one first needs a session."""
    from merkl.nodes import Future, Session, set_default_session, set_picture

    def make() -> Session:
        from merkl.cluster.making import away
        from merkl.engine.script import script_session

        project = script_session()
        project.make_away = away
        return project

    def picture(future: Future[object]) -> str:
        from merkl.programs.pictures import picture

        return picture(future)

    set_default_session(make)
    set_picture(picture)
    _install_hook()


def _install_hook() -> None:
    """Let an error that ends a script, a thread or a cell be shown in the user's own lines."""
    import os
    import sys
    import threading

    before, before_in_thread = sys.excepthook, threading.excepthook
    if getattr(before, "__module__", "") == __name__:
        return

    def make_ready(error: BaseException) -> None:
        from merkl.errors import MerklError
        from merkl.nodes import shorten_places
        from merkl.tracebacks import show

        show(error)
        if isinstance(error, MerklError):
            shorten_places(error, os.getcwd())

    def merkl_hook(kind: type[BaseException], error: BaseException, _: object) -> None:
        from merkl.errors import Interrupted

        make_ready(error)
        before(kind, error, error.__traceback__)
        if isinstance(error, Interrupted):
            raise SystemExit(error.exit_code)  # Python takes it from here.

    def thread_hook(args: threading.ExceptHookArgs) -> None:
        error = args.exc_value
        if error is not None:
            make_ready(error)
            args = threading.ExceptHookArgs((args.exc_type, error, error.__traceback__, args.thread))
        before_in_thread(args)

    sys.excepthook, threading.excepthook = merkl_hook, thread_hook
    if (shell := getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()) is not None:
        from merkl.tracebacks import shown_by

        shown_by(shell, make_ready)
