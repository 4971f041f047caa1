"""The API under fire: schema-driven requests (schemathesis), then lists of hostile hosts, origins and paths.

`reading_room.py fuzz` runs it. Needs: pip install schemathesis.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.harness import Args
from benchmarks.pages.reading_room_data import make_patient, make_room, row
from leukoscope.web.store import accounts, open_store
from leukoscope.web.store.opening import open_run


def fuzz(args: Args) -> list[dict]:
    """Schema-driven requests, then hostile ones; every status is counted at the server."""
    with tempfile.TemporaryDirectory() as work:
        store = open_store(Path(work) / "r.db")
        open_run(store, make_patient(Path(work) / "run", n_cells=40))
        admin = accounts.add_reader(store, "admin", role="admin", password="a long enough password")
        token = accounts.begin_session(store, admin, kind="token")
        counts: dict[int, int] = {}
        with make_room.served(store, accounts=True, counts=counts) as origin:
            examples = 60 if args.quick else 700
            command = [
                str(Path(sys.executable).parent / "st"),
                "run",
                origin + "/openapi.json",
                "-H",
                f"Authorization: Bearer {token}",
            ]
            command += [
                "--checks",
                "not_a_server_error",
                "--max-examples",
                str(examples),
                "--suppress-health-check",
                "all",
            ]
            done = subprocess.run([*command, "--no-color", "--seed", "1"], capture_output=True, text=True, check=False)
            print(done.stdout[-1500:])
            n = sum(counts.values())
            accepted = hostile(origin, token)
        store.close()
    errors = sum(number for status, number in counts.items() if status >= 500)
    return [
        row("server errors under schemathesis", errors, "<= 0", n=n, statuses=json.dumps(dict(sorted(counts.items())))),
        row("requests of the fuzzing", n, ">= 10000"),
        row(
            "hostile hosts, origins, headers and paths accepted",
            len(accepted),
            "<= 0",
            n=HOSTILE_N,
            which="; ".join(accepted),
        ),
    ]


HOSTS = (
    "evil.example",
    "localhost.evil.example",
    "127.0.0.1.nip.io",
    "127.0.0.1",
    "0.0.0.0",
    "[::1]",
    "a b",
    "",
    "127.0.0.1:99999",
)
ORIGINS = ("https://evil.example", "null", "http://localhost", "http://127.0.0.1", "file://", "http://127.0.0.1:1")
SITES = ("cross-site", "same-site", "none")
PATHS = (
    "/static/../app.py",
    "/static/..%2fapp.py",
    "/static/%2e%2e/%2e%2e/pyproject.toml",
    "/static/....//app.py",
    "/static/%00",
    "/static//etc/passwd",
    "/r/../../../etc/passwd",
    "/r/..%2f..%2fetc%2fpasswd/sheet/0.jpg",
    "/p/%0d%0aset-cookie:%20a=b",
    "/r/%0aX",
    "/p/%ff%fe",
    "/r/" + "a" * 9000,
)
HOSTILE_N = len(HOSTS) + len(ORIGINS) + len(SITES) + len(PATHS)


def hostile(origin: str, token: str) -> list[str]:
    """Hostile requests that were answered as if they were ours."""
    where, accepted = urlsplit(origin).netloc, []

    def ask(method: str, path: str, headers: dict, body: bytes | None = None) -> tuple[int, dict]:
        connection = http.client.HTTPConnection(where, timeout=20)
        connection.putrequest(method, path, skip_host="host" in headers)
        for name, value in headers.items():
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("content-length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}

    accepted += [f"host {h!r}" for h in HOSTS if ask("GET", "/sign-in", {"host": h})[0] < 400]
    known = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    sign_in = b"name=admin&password=a+long+enough+password"
    form = known | {"content-type": "application/x-www-form-urlencoded"}
    accepted += [f"origin {o!r}" for o in ORIGINS if ask("POST", "/sign-in", form | {"origin": o}, sign_in)[0] < 400]
    accepted += [
        f"site {s!r}" for s in SITES if ask("POST", "/sign-in", form | {"sec-fetch-site": s}, sign_in)[0] < 400
    ]
    for path in PATHS:
        status, headers = ask("GET", path, known)
        if (status < 400 and status != 303) or "a=b" in headers.get("set-cookie", ""):
            accepted.append(f"path {path[:40]!r}")
    return accepted
