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
        sys.stdout.write(f"merkl {_version()}\n")
        return 0
    if sys.argv[1:2] == ["--complete"]:  # Asked by a shell's script, which shows no errors.
        from merkl.cli.shells import main as complete

        return complete(sys.argv[2:])
    from merkl.snapshot.answer import answer, request_of

    arguments = sys.argv[1:]
    code = answer(arguments, _version())
    if code is not None:
        return code
    import gc

    # A graph is many objects that stay: to look through all of them again and again, and once more at the end, would
    # find nothing.
    gc.set_threshold(1_000_000, 20, 100)
    try:
        if arguments[:1] == ["build"] or arguments[:1] == [] or arguments[0][:1] == "-":
            from merkl.snapshot import recorder

            recorder.start(request_of(arguments, _version()))
        from merkl.cli.main import run
    except KeyboardInterrupt:  # What comes later, run() deals with.
        sys.stderr.write("interrupted\n")
        return 130
    code = run(arguments)
    gc.freeze()
    return code


def _version() -> str:
    from merkl import __version__

    return __version__


if __name__ == "__main__":
    raise SystemExit(main())
