"""What a command line gives, however it was read.

It decides what the options mean together, and which project is meant.  It knows neither how they are spelt nor click.
"""

import os

from merkl.config import QUIET, Config, find_root, load_config
from merkl.dataclass import dataclass, field, replace
from merkl.errors import MerklfileError, UsageError


@dataclass(frozen=True, slots=True)
class Options:
    """What was given; None where nothing was.  ``directory`` and ``file`` are as typed."""

    directory: str | None = None
    file: str | None = None
    jobs: int | None = None
    keep_going: bool | None = None
    dry_run: bool = False
    force: bool = False
    quiet: bool = False
    verbose: bool = False
    json: bool = False
    color: str = "auto"
    progress: str = "auto"
    output: str | None = None
    sets: tuple[str, ...] = field(default=())
    rehash: bool = False
    frozen: bool = False
    push: bool = False
    require_remote: bool = False
    target: str | None = None
    order: str | None = None
    check_deps: bool = False
    strict_deps: bool = False

    @property
    def cwd(self) -> str:
        """The directory that paths of the request start from.

        Raises:
            UsageError: it was removed.
        """
        try:
            return os.path.abspath(self.directory or ".")
        except FileNotFoundError:
            raise UsageError(
                "the current directory is gone", hint="go to one that is there: cd DIR"
            ) from None

    def place(self) -> tuple[str, str | None]:
        """The root of the project that is meant, or the directory itself where there is none; and the Merklfile in it
        that was named.

        Raises:
            UsageError: ``-C`` names no directory.
        """
        cwd = self.cwd
        if not os.path.isdir(cwd):
            raise UsageError(
                f"-C {self.directory}: there is no such directory", hint="-C takes the directory to work in"
            )
        root, merklfile = find_root(cwd) or cwd, None
        if self.file is not None:
            path = os.path.join(cwd, self.file)
            if not (path + os.sep).startswith(root.rstrip(os.sep) + os.sep) or find_root(cwd) is None:
                root = find_root(os.path.dirname(path)) or os.path.dirname(path)
            merklfile = os.path.relpath(path, root)
        return root, merklfile

    def config(self) -> Config:
        """The configuration of the project that is meant; where there is none, of the directory itself.

        Raises:
            UsageError: ``-C`` names no directory.
            ConfigError: a setting is wrong.
        """
        root, merklfile = self.place()
        return load_config(
            root, merklfile=merklfile, jobs=self.jobs, keep_going=self.keep_going, dry_run=self.dry_run,
            force=self.force, rehash=self.rehash, output=self.output, frozen=self.frozen, push=self.push,
            required=self.require_remote, target=self.target, order=self.order,
            check_deps=self.check_deps or self.strict_deps, strict_deps=self.strict_deps,
        )  # fmt: skip

    def existing(self) -> Config:
        """The configuration of a project that must be there.

        Raises:
            MerklfileError: no project is here or above.
        """
        config = self.config()
        if find_root(config.root) is None:
            raise MerklfileError(
                "no project here or above: no Merklfile, no .merkl", hint="`merkl init` makes one"
            )
        return config

    def settled(self) -> "Options":
        """The same, where ``-q`` and ``-o quiet`` are one.

        Raises:
            UsageError: ``-q`` and another ``-o`` were given.
        """
        if self.quiet and self.output not in (None, QUIET):
            raise UsageError(
                f"-q is -o quiet, and -o {self.output} was given too", hint="leave out one of them"
            )
        if self.quiet or self.output == QUIET:
            return replace(self, quiet=True, output=QUIET)
        return self
