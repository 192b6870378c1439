"""A web site as it is worked on: assets are bundled under watch, and a server that holds them in memory is restarted."""

import signal
import sys
import urllib.request

import pytest

BUNDLES = """
    bundle = bash_task("cat {files_arg('parts', '.css')} | tr -d '\\n' > {out_file_arg('out', '.css')}")

    @task
    def page(template: FileRef, title: str) -> str:
        return open(template).read().replace("TITLE", title)

    @target(default=True)
    def site():
        bundle(files("css/*.css")) > "dist/site.css"
        page(file("page.html"), params("site.yaml").title) > "dist/index.html"
"""

SERVER = """
import http.server, os, pathlib

pages = {f"/{path.name}": path.read_bytes() for path in pathlib.Path("dist").iterdir()}

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path in pages else 404)
        self.end_headers()
        self.wfile.write(pages.get(self.path, b""))

    def log_message(self, *args):
        pass

server = http.server.HTTPServer(("127.0.0.1", int(os.environ.get("PORT", 0))), Handler)
print("serving", server.server_port, flush=True)
server.serve_forever()
"""


class Site:
    def __init__(self, watching):
        self._lines = watching.stdout
        self.said = []

    def serving(self):
        """The port of the next server that is started."""
        for line in self._lines:
            self.said.append(line)
            if line.startswith("serving"):
                return int(line.split()[1])
        raise AssertionError("".join(self.said))

    def said_next(self, words):
        """Wait for a line with some words."""
        for line in self._lines:
            self.said.append(line)
            if words in line:
                return line
        raise AssertionError("".join(self.said))


def get(port, name):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{name}", timeout=20) as answer:
        return answer.read().decode()


def test_assets_are_bundled_again_and_the_server_is_restarted(project):
    project.merklfile(BUNDLES)
    project.write("server.py", SERVER)
    project.write("site.yaml", "title: First\n")
    project.write("page.html", "<h1>TITLE</h1>")
    project.write("css/a.css", "a{}\n")
    project.write("css/b.css", "b{}\n")
    with project.popen("watch", "--then", f"exec {sys.executable} -u server.py") as watching:
        site = Site(watching)
        port = site.serving()
        assert (get(port, "site.css"), get(port, "index.html")) == ("a{}b{}", "<h1>First</h1>")

        project.write("css/c.css", "c{}\n")
        second = site.serving()
        assert get(second, "site.css") == "a{}b{}c{}"
        with pytest.raises(OSError):
            get(port, "site.css")  # The one before is gone.

        project.write("site.yaml", "title: [\n")  # Saved half way: the server stays.
        site.said_next("site.yaml changed")
        assert get(second, "index.html") == "<h1>First</h1>"
        project.write("site.yaml", "title: Second\n")
        third = site.serving()
        assert (get(third, "site.css"), get(third, "index.html")) == ("a{}b{}c{}", "<h1>Second</h1>")

        watching.send_signal(signal.SIGINT)
        assert watching.wait(60) == 0
        with pytest.raises(OSError):
            get(third, "index.html")
        watching.stderr.read()
