"""merkl, a build tool for work that is half shell commands and half Python.

These are the names for Merklfiles and scripts.  Each is imported when it is first used, so that ``import merkl`` costs
nothing; errors are in ``merkl.errors``.
"""

__version__ = "0.1.0"

_HOMES = {
    "Future": "merkl.nodes",
    "task": "merkl.python.task",
    "HashMode": "merkl.python.code",
    "pip_version_of": "merkl.python.versions",
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
    "watch": "merkl.watching.api",
    "build": "merkl.programs.building",
    "building": "merkl.programs.building",
    "graph": "merkl.programs.pictures",
}

__all__ = [
    "DirRef",
    "FileRef",
    "Future",
    "HashMode",
    "__version__",
    "arg",
    "argfile",
    "bash_task",
    "build",
    "building",
    "depfile_arg",
    "dir_arg",
    "env_arg",
    "file",
    "file_arg",
    "files",
    "files_arg",
    "flag_arg",
    "graph",
    "include",
    "out_dir_arg",
    "out_file_arg",
    "params",
    "pip_version_of",
    "secret_arg",
    "target",
    "task",
    "watch",
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
    from merkl.merklfile.declare import target
    from merkl.merklfile.inputs import file, files
    from merkl.merklfile.loader import include
    from merkl.merklfile.parameters import params
    from merkl.nodes import Future
    from merkl.programs.building import build, building
    from merkl.programs.pictures import graph
    from merkl.python.code import HashMode
    from merkl.python.task import task
    from merkl.python.versions import pip_version_of
    from merkl.watching.api import watch
    from merkl.workspace.refs import DirRef, FileRef


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
        from merkl.engine.script import script_session

        return script_session()

    def picture(future: Future[object]) -> str:
        from merkl.programs.pictures import picture

        return picture(future)

    set_default_session(make)
    set_picture(picture)
