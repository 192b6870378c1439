"""``python -m merkl`` and the ``merkl`` script.

It answers what needs no imports, and leaves the rest to the command line.
"""


def main() -> int:
    """Run the command line; the exit code."""
    import sys

    if sys.platform == "win32":
        from merkl import _WINDOWS

        sys.stderr.write(f"{_WINDOWS}\n")
        return 2
    if sys.argv[1:] == ["--version"]:
        from merkl import __version__

        sys.stdout.write(f"merkl {__version__}\n")
        return 0
    if sys.argv[1:2] == ["--complete"]:  # Asked by a shell's script, which shows no errors.
        from merkl.cli.shells import main as complete

        return complete(sys.argv[2:])
    import gc

    # A graph is many objects that stay: to look through all of them again and again, and once more at the end, would
    # find nothing.
    gc.set_threshold(1_000_000, 20, 100)
    try:
        from merkl.cli.main import run
    except KeyboardInterrupt:  # What comes later, run() deals with.
        sys.stderr.write("interrupted\n")
        return 130
    code = run(sys.argv[1:])
    gc.freeze()
    return code


if __name__ == "__main__":
    raise SystemExit(main())
