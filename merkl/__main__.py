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
    import atexit

    others = atexit._ncallbacks()  # What is added later is ours, as long as no code of the user's has run.
    if sys.argv[1:] == ["--version"] and sys.stdout is not None:
        try:
            sys.stdout.write(f"merkl {_version()}\n")
        except OSError as error:
            return _unwritten(error)
        return _ended(0, others)
    if sys.argv[1:2] == ["--complete"]:  # Asked by a shell's script, which shows no errors.
        from merkl.cli.shells import main as complete

        return complete(sys.argv[2:])
    import gc

    # A graph is many objects that stay: to look through all of them again and again, and once more at the end, would
    # find nothing.
    gc.set_threshold(1_000_000, 20, 100)
    arguments = sys.argv[1:]
    try:
        from merkl.snapshot.answer import ANSWERED, answer, directory_of, request_of

        code = answer(arguments, _version(), _get_ready)
    except KeyboardInterrupt:
        return _interrupted()
    except OSError as error:
        return _unwritten(error)
    if isinstance(code, int):
        return _ended(code, others)
    from merkl.snapshot import process

    # Else it is that of a program that calls us, such as a test.
    process.is_ours = sys._getframe(1).f_globals.get("__name__") == "__main__"
    if code is not None:
        try:
            from merkl.cli.changed import build_changed

            code = build_changed(code)
        except KeyboardInterrupt:
            return _interrupted()
        if code is not None:
            gc.freeze()
            if not process.has_run_code:
                return _ended(code, others)
            _wait_for_threads(code)
            return code
    try:
        words = arguments[2:] if directory_of(arguments) else arguments
        if not words or words[0] in ANSWERED or (words[0][:1] == "-" and "build" in words):
            import contextlib

            from merkl.snapshot import recorder

            with contextlib.suppress(OSError):  # The current directory is gone, which others tell.
                recorder.start(request_of(arguments, _version()))
        from merkl.cli.plain import runner

        run = runner(arguments)
    except KeyboardInterrupt:  # What comes later, run() deals with.
        return _interrupted()
    code = run()
    try:
        gc.freeze()
        _wait_for_threads(code)
    except KeyboardInterrupt:  # Once more: it is ending already.
        return 130
    return code


def _get_ready(root: str, kept: tuple[object, ...]) -> object:
    from merkl.cli.changed import get_ready  # Something has changed, so it will be wanted.

    return get_ready(root, kept)


def _ended(code: int, others: int) -> int:
    """The exit code, where no code of the user's has run; if nobody comes after us, this is the end.

    To take all modules apart takes a third as long as to import them.  ``others`` is how many wanted to be called at the end
    before we began: to them Python sees.
    """
    import _thread
    import atexit
    import os
    import sys

    last = sys._getframe(2).f_code.co_filename == sys.argv[0] and not others and not _thread._count()
    if last:
        atexit._run_exitfuncs()
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except OSError as error:
        return _unwritten(error)
    except ValueError:  # It was closed, of which Python says what is to be said.
        return code
    if last:
        os._exit(code)
    return code


def _unwritten(error: OSError) -> int:
    from merkl.cli.edge import unwritten

    return unwritten(error)


def _wait_for_threads(code: int) -> None:
    """Let threads that a task left here hold up the end for a second at most, as they do that of a worker."""
    import sys

    threading = sys.modules.get("threading")
    if threading is None or not any(
        not thread.daemon and thread is not threading.main_thread() for thread in threading.enumerate()
    ):
        return

    def end() -> None:
        import os
        import time

        time.sleep(1.0)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)

    # Python waits for them as it ends, after it has told pools to end theirs; meanwhile this thread goes on.
    threading.Thread(target=end, daemon=True).start()


def _interrupted() -> int:
    import sys

    if sys.stderr is not None:
        sys.stderr.write("interrupted\n")
    return 130


def _version() -> str:
    from merkl import __version__

    return __version__


if __name__ == "__main__":
    raise SystemExit(main())
