"""A C library and a program that uses it, with headers that nobody lists: gcc says which ones it read.

The library is brotli's, from its source distribution on PyPI.  This repository has none of its code: the first build
downloads it, and compares it with the hash in requirements.txt.  It is then yours, in vendor/brotli: edit a header there,
and what includes it is compiled again.

merkl build                     the program, build/brot, and a check of it against Python's brotli
merkl build program optimise=0  the program alone, quickly compiled
merkl why                       after an edit: what would run, and which header changed
merkl dag --files               who reads what, discovered headers too
merkl build vendor/brotli       brotli as it was published; your edits are saved first (merkl restore)
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from merkl import FileRef, Future, bash_task, file, files, pip_version_of, target, task

VENDOR = Path("vendor/brotli")
INCLUDE = "vendor/brotli/c/include"

# ---- The sources, fetched once ----


@task
def download(requirements: str) -> FileRef:
    """The source distribution that a requirements file pins by its hash: pip takes no other."""
    to = Path(tempfile.mkdtemp())
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
    pinned = ["--no-deps", "--no-binary=:all:", "--require-hashes", "--requirement", requirements]
    subprocess.run([*pip, *pinned, "--dest", to], check=True)
    (archive,) = to.iterdir()
    return FileRef(archive)


unpack = bash_task("""
    tar -xzf {file_arg('archive', '.gz')} -C {out_dir_arg('sources')} --strip-components=1 --wildcards '*/c' '*/LICENSE'
""")

# In no target: nothing that is built by name needs it, so that edits of the sources stay.
published = unpack(download(file("requirements.txt"))) > VENDOR


def library_sources() -> list[FileRef]:
    """The library's C files; where there are none yet, brotli is fetched first and placed, even for `merkl why`."""
    if not VENDOR.exists():
        published.eval()
    return files("vendor/brotli/c/{common,dec,enc}/*.c", required=True)


# ---- Compiling and linking ----

# -MMD writes the headers that were read to the depfile (without the system's; -MD has these too).  -ffile-prefix-map
# keeps the directory that the project lies in out of objects, so that a copy of it elsewhere has the same.
compile_c = bash_task(
    """
    gcc -std=c99 -O{arg('optimise', type=int)} -g -Wall -ffile-prefix-map="$PWD"=. -I{arg('include')}
        -MMD -MF {depfile_arg()} -c {file_arg('source', '.c')} -o {out_file_arg('object', '.o')}
    """.replace("\n        ", " "),
    tools=["gcc --version"],
)

# D: no times, no users, in an order that is ours.
archive = bash_task(
    "ar rcsD {out_file_arg('library', '.a')} {files_arg('objects', '.o')}", tools=["ar --version"]
)

link = bash_task(
    "gcc -o {out_file_arg('program')} {file_arg('main', '.o')} {file_arg('library', '.a')} -lm",
    tools=["gcc --version"],
)

# ---- The check ----

PIECE = 1 << 16  # Bytes that brot.c reads at a time.


@task(deps=[pip_version_of("brotli")])
def compare(program: str) -> str:
    """Whether the program and Python's brotli read each other, and make the same bytes of the same pieces."""
    import random

    import brotli

    samples = {
        "nothing": b"",
        "one byte": b"m",
        "zeros": bytes(200_000),
        "noise": random.Random(1).randbytes(100_000),
        "text": b"".join(b"%d green bottles, hanging on the wall\n" % n for n in range(3_000)),
    }
    lines = []
    for name, sample in samples.items():
        for quality in (0, 1, 5, 9, 11):
            ours, encoder = run(program, "-q", str(quality), stdin=sample), brotli.Compressor(quality=quality)
            pieces = [sample[start : start + PIECE] for start in range(0, len(sample), PIECE)]
            theirs = b"".join([*map(encoder.process, pieces), encoder.finish()])
            assert ours == theirs, f"{name} at {quality}: {len(ours)} bytes here, {len(theirs)} there"
            assert brotli.decompress(ours) == sample, f"Python cannot read {name} at {quality}"
            assert run(program, "-d", stdin=brotli.compress(sample, quality=quality)) == sample, (
                f"brot cannot read {name} at {quality}"
            )
            lines.append(f"{name}, quality {quality}: {len(sample)} bytes become {len(ours)}\n")
    return "".join(lines)


def run(*command: str, stdin: bytes) -> bytes:
    """What a command writes."""
    return subprocess.run(command, input=stdin, stdout=subprocess.PIPE, check=True).stdout


# ---- Targets ----


@target
def library(optimise: int = 2) -> object:
    """The static library."""
    objects = [compile_c(optimise, INCLUDE, source) for source in library_sources()]
    return archive(objects, library="build/libbrotli.a")


@target
def program(optimise: int = 2) -> object:
    """The program."""
    brotli = library(optimise)
    return link(compile_c(optimise, INCLUDE, "brot.c"), brotli) > "build/brot"


@target(default=True)
def check(optimise: int = 2) -> Future[str]:
    """The program, and how it compares with Python's brotli."""
    return compare(program(optimise)) > "build/compared.txt"
