"""What the tests share: real data where it is there, and small generated data."""

from __future__ import annotations

import http.server
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from sklearn_colearn import ModalityDict
from sklearn_colearn.datasets import make_multisensor

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("SKLEARN_COLEARN_DATA", ROOT.parent / "shared" / "data"))


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], Path]:
    """Return a function that gives the path of a real data file, or skips.

    Real data are not part of the project; its own CI has them and sets
    SKLEARN_COLEARN_REQUIRE_DATA, which makes their absence a failure.
    """

    def find(name: str) -> Path:
        path = DATA / name
        if not path.exists():
            reason = f"{path} is not there; see CONTRIBUTING.md on real data"
            if os.environ.get("SKLEARN_COLEARN_REQUIRE_DATA"):
                pytest.fail(reason)
            pytest.skip(reason)
        return path

    return find


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        content, start = server.files.get(self.path), 0
        server.requests += 1
        if content is not None and server.ranges and "Range" in self.headers:
            start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
            server.starts.append(start)
        rest = (content or b"")[start:]
        found = 206 if start else 200
        found = 404 if content is None else found if rest or not start else 416
        self.send_response(found)
        self.send_header("Content-Length", str(len(rest) + server.lost))
        self.end_headers()
        self.wfile.write(rest)

    def log_message(self, *args):
        """Stay silent."""


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[http.server.HTTPServer]:
    """Serve `web.files`, contents by path such as "/table", at `web.url`.

    `web.lost` bytes of each answer do not arrive. `web.ranges` says whether a part can
    be asked for; `web.starts` holds where those that were asked for began.
    """
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with http.server.HTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.files, server.requests, server.lost = {}, 0, 0
        server.ranges, server.starts = True, []
        server.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def sensors() -> tuple[ModalityDict, np.ndarray]:
    """Two time series and a table with three classes: 90 rows."""
    return make_multisensor(90, random_state=0)


@pytest.fixture(scope="session")
def sensors_regression() -> tuple[ModalityDict, np.ndarray]:
    """Two time series and a table with a continuous target: 90 rows."""
    return make_multisensor(90, task="regression", random_state=0)
