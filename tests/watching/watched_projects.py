"""Merklfiles for the tests of watching."""

UPPER = """
    upper = bash_task("tr a-z A-Z < {file_arg('text')} > {out_file_arg('out', '.txt')}")

    @target(default=True)
    def all():
        for path in files("src/*.txt"):
            upper(path) > f"out/{path.split('/')[-1]}"
"""
