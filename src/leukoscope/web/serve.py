"""Start the reading room: where it listens, who may come, and what it refuses to start with."""

import getpass
import ipaddress
import os
import socket
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from leukoscope.dataset.exporter import export_dataset
from leukoscope.errors import InputError
from leukoscope.progress import Progress, no_progress
from leukoscope.web.app import create_app
from leukoscope.web.guard import Site
from leukoscope.web.learn import export_reviewed
from leukoscope.web.settings import store_settings
from leukoscope.web.store import Store, existing_store, open_store
from leukoscope.web.store.accounts import add_reader, has_accounts, reader_named
from leukoscope.web.store.opening import open_run
from leukoscope.web.store.photographs import Photographs

PASSWORD = "LEUKOSCOPE_PASSWORD"  # environment variable for scripts that make an account


@dataclass(frozen=True, slots=True)
class Place:
    """Where the server listens. origins: addresses that people use through a proxy; port 0: a free one."""

    host: str = "127.0.0.1"
    port: int = 8000
    origins: tuple[str, ...] = ()
    tls_cert: str | None = None
    tls_key: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise InputError(f"a port lies between 0 and 65535, got {self.port}")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise InputError("HTTPS needs both --tls-cert and --tls-key")
        for file in (self.tls_cert, self.tls_key):
            if file is not None and not Path(file).is_file():
                raise InputError(f"no file {file}: expected a PEM file")
        for origin in self.origins:
            parts = urlsplit(origin)
            if parts.scheme not in ("http", "https") or not parts.netloc or parts.path or parts.query:
                raise InputError(f"--origin needs an address such as https://lab.example, got {origin!r}")

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def secure(self) -> bool:
        """Whether all of it goes over HTTPS, here or at the proxy."""
        return self.tls_cert is not None or (bool(self.origins) and all(o.startswith("https:") for o in self.origins))


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """An open store, the reader where there are no accounts, and what to say of the runs."""

    store: Store
    default_reader: int | None
    accounts: bool
    said: tuple[str, ...]


def open_room(
    db: str,
    runs: Sequence[str],
    place: Place,
    *,
    reader: str,
    photographs: str | None = None,
    settings: str | None = None,
    progress: Progress = no_progress,
) -> Opened:
    """Open the database and the runs; InputError before anything listens where that would not be safe."""
    store = open_store(db)
    try:
        accounts = has_accounts(store)
        if not accounts and not (place.loopback and not place.origins):
            raise InputError(
                f"{place.host} can be reached from other machines, and there are no accounts: make the first one with"
                f" `leukoscope review --db {db} --add-reader NAME --role admin`"
            )
        if not place.secure and (not place.loopback or place.origins):
            raise InputError(
                "other machines reach it over plain HTTP, which shows passwords and patients to the network: give"
                " --tls-cert and --tls-key, or --origin https://... behind a proxy that serves HTTPS"
            )
        said = []
        for path in runs:
            opened = open_run(store, path, progress=progress)
            again = ", opened before" if opened.was_there else ""
            said.append(f"{path}: {opened.n_patients} patients, {opened.n_cells} cells{again}")
        if photographs is not None:
            n = Photographs(store).take_folder(photographs)
            said.append(f"{photographs}: {n} photographs found that had moved")
        if settings is not None:
            try:
                text = Path(settings).read_text("utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise InputError(f"can't read the settings {settings}: {error}") from None
            store_settings(store, text, reader_id=None)
        return Opened(store, None if accounts else reader_named(store, reader), accounts, tuple(said))
    except BaseException:
        store.close()
        raise


def serve(room: Opened, place: Place, *, say: Callable[[str], None]) -> None:
    """Listen until stopped. The log names no patient: paths hold random keys alone, and searches are posted."""
    import uvicorn

    listener = _listen(place)
    port = listener.getsockname()[1]
    site = Site(origins_of(place, port), room.accounts, place.secure)
    app = create_app(room.store, site, default_reader=room.default_reader)
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, proxy_headers=False,
        ssl_certfile=place.tls_cert, ssl_keyfile=place.tls_key, timeout_graceful_shutdown=5,
    )  # fmt: skip
    say(f"the reading room: {sorted(site.origins, key=len)[0]}/ (stop it with Ctrl-C)")
    sys.stdout.flush()
    try:
        uvicorn.Server(config).run(sockets=[listener])
    finally:
        room.store.close()


def origins_of(place: Place, port: int) -> frozenset[str]:
    """The addresses that people use: those given, else this host's names with the port."""
    if place.origins:
        return frozenset(place.origins)
    scheme = "https" if place.tls_cert else "http"
    names = {f"[{place.host}]" if ":" in place.host else place.host}
    if place.loopback:
        names |= {"127.0.0.1", "localhost"}
    elif place.host in ("0.0.0.0", "::"):
        names = {socket.gethostname(), socket.getfqdn()}
    usual = {"http": 80, "https": 443}[scheme]
    return frozenset(f"{scheme}://{name.lower()}" + ("" if port == usual else f":{port}") for name in names)


def _listen(place: Place) -> socket.socket:
    family = socket.AF_INET6 if ":" in place.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((place.host, place.port))
    except OSError as error:
        listener.close()
        raise InputError(
            f"can't listen on {place.host} port {place.port}: {error.strerror or error}; give another --port"
        ) from None
    return listener


def add_account(db: str, name: str, *, role: str) -> None:
    """An account whose password is asked for (or taken from the environment by scripts)."""
    password = os.environ.get(PASSWORD)
    if password is None:
        if not sys.stdin.isatty():
            raise InputError(f"no terminal to ask for a password: set {PASSWORD}")
        password = getpass.getpass(f"password for {name}: ")
        if password != getpass.getpass("again: "):
            raise InputError("the two passwords differ: nothing was changed")
    store = open_store(db)
    try:
        add_reader(store, name, role=role, password=password)
    finally:
        store.close()


def export(db: str, form: str, out: str) -> dict:
    """The reviewed cells of signed patients as our manifest, CVAT, COCO or YOLO; see `export_reviewed`."""
    with existing_store(db) as store:
        if form == "manifest":
            return export_reviewed(store, out)
        with tempfile.TemporaryDirectory() as work:
            exported = export_reviewed(store, work)
            export_dataset(form, work, out)
            return exported
