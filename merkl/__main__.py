"""``python -m merkl`` and the ``merkl`` script.

It answers what needs no imports, and leaves the rest to the command line.
"""


def main() -> int:
    """Run the command line; the exit code."""
    import sys

    if sys.platform == "win32":
        sys.stderr.write("merkl runs on Linux and macOS; on Windows, run it inside WSL: wsl --install\n")
        return 2
    if sys.argv[1:] == ["--version"]:
        from merkl import __version__

        sys.stdout.write(f"merkl {__version__}\n")
        return 0
    from merkl.cli.main import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    raise SystemExit(main())
