"""The engine of many processes and machines: Ray (https://www.ray.io) runs the parts of a run, a patient each.

Paths go to the workers and a number comes back: neither photographs nor pictures of cells enter Ray's object store.
What a worker finds it writes into its part's state (parts.py), where every node must see the same folders. A worker
analyses one photograph at a time, so its memory is that of the models and one photograph. A worker that is killed
goes on where its part was; so does a driver.
"""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import leukoscope
from leukoscope.errors import InputError, ModelError
from leukoscope.models.bundle import BUNDLED, Bundle, read_bundle
from leukoscope.models.devices import CPU, PROCESSOR, Device, choose_device
from leukoscope.pipeline.lock import STALE_S, RunInUse
from leukoscope.pipeline.parts import Part, TakenIn, cut_parts, do_part
from leukoscope.pipeline.photographs import Analysed
from leukoscope.pipeline.ruler import smear_of
from leukoscope.pipeline.sources import Source
from leukoscope.pipeline.threads import First, load_analyzer, n_workers

HOW = "pip install 'leukoscope[ray]'"
MOST_CRASHES = 20  # of one part in a row without a further photograph
WORKER_BYTES = 1 << 30  # set aside a worker: the models, and one photograph of up to 50 megapixels
STORE_BYTES = 80_000_000  # the least that Ray takes; numbers are all that goes in
_AHEAD = 4  # parts a worker that are given out at a time


@dataclass(frozen=True, slots=True)
class Setup:
    """What a worker loads, by value and by path: cached once a process.

    models   (task, folder, SHA-256 of its ONNX file) of each bundle; a bundled one's folder is relative to the package
    folder   the driver's working folder: sources may be relative to it
    device   where the models run: on every node the same
    """

    models: tuple[tuple[str, str, str], ...]
    um_per_px: float | None
    tile_px: int | None
    folder: str
    device: str = CPU
    version: str = leukoscope.__version__


def setup_of(
    models: Mapping[str, Bundle], *, um_per_px: float | None, tile_px: int | None, device: Device = PROCESSOR
) -> Setup:
    """The set-up of a run."""
    named = []
    for task, bundle in models.items():
        path = bundle.path.resolve()
        inside = path.is_relative_to(BUNDLED.resolve())
        named.append((task, str(path.relative_to(BUNDLED.resolve()) if inside else path), bundle.card.onnx_sha256))
    return Setup(tuple(named), um_per_px, tile_px, os.getcwd(), device.name)


def on_ray(
    sources: Sequence[Source],
    first: First,
    *,
    work: Path,
    head: dict,
    setup: Setup,
    n_done: int = 0,
    workers: int | None = None,
    address: str | None = None,
) -> Iterator[Analysed]:
    """The photographs from the `n_done`-th on, analysed by Ray's workers, in the order of `sources`.

    work     the run's work folder, which every node sees under the same path
    workers  of a cluster on this machine, made for this run; a cluster at `address` has its own
    InputError where Ray is missing or no cluster answers, and where a photograph ends every worker that reads it.
    """
    taken = TakenIn(work.resolve(), cut_parts(sources))
    taken.skip(n_done)
    with _cluster(address, workers) as ray:
        given = _GivenOut(ray, sources, first, work.resolve(), head, setup)
        todo = iter(dict.fromkeys(taken.part(row) for row in range(n_done, len(sources))))
        try:
            for row in range(n_done, len(sources)):
                given.wait_for(taken.part(row), todo)
                yield from taken.take(row)
        finally:
            given.cancel()
            taken.close()


@contextmanager
def _cluster(address: str | None, workers: int | None) -> Iterator:
    """Ray, connected; what was started here ends here. One that is connected already is taken as it is."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing leaves the machine
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # what Ray will do, and warns of until then
    try:
        import ray
    except ImportError:
        raise InputError(f"--engine ray needs Ray, which is not installed: {HOW}") from None
    if ray.is_initialized():
        yield ray
        return
    _connect(ray, address, workers)
    try:
        yield ray
    finally:
        ray.shutdown()


def _connect(ray, address: str | None, workers: int | None) -> None:
    local = {"num_cpus": n_workers(workers), "object_store_memory": STORE_BYTES, "include_dashboard": False}
    for tries_left in (2, 1, 0) if address is None else (0,):
        try:
            ray.init(
                address=address or "local",
                log_to_driver=False,
                logging_level="ERROR",
                **(local if address is None else {}),
            )
            return
        except Exception as error:  # Ray raises a bare Exception where a busy machine is slow to start its processes
            ray.shutdown()
            if not tries_left:
                why = " ".join(str(error).split())[:200]
                where = f"no Ray cluster answers at {address}" if address else "Ray does not start on this machine"
                raise InputError(f"{where}: {why}") from None


class _GivenOut:
    """Parts that are with workers, a few a worker; given out again when their worker dies."""

    def __init__(self, ray, sources: Sequence[Source], first: First, work: Path, head: dict, setup: Setup) -> None:
        self._ray, self._sources, self._first = ray, sources, first
        self._work, self._head, self._setup = work, head, setup
        self._under_way: dict[object, Part] = {}
        self._done: set[int] = set()
        self._crashes: dict[int, float] = {}
        self._lengths: dict[int, tuple[int, bytes]] = {}
        self._refused: dict[int, float] = {}
        nodes = [n for n in ray.nodes() if n["Alive"] and n["Resources"].get("CPU", 0) >= 1]
        self._most = max(1, int(sum(n["Resources"]["CPU"] for n in nodes))) * _AHEAD
        room = min((n["Resources"].get("memory", WORKER_BYTES) for n in nodes), default=WORKER_BYTES)
        # Parts are given out anew here, not by Ray: what has become of them stands in their state.
        self._run = ray.remote(num_cpus=1, memory=int(min(WORKER_BYTES, room)), max_retries=0)(run_part)

    def wait_for(self, part: Part, todo: Iterator[Part]) -> None:
        """Until `part` is done, giving out `todo` meanwhile."""
        while part.number not in self._done:
            while len(self._under_way) < self._most and (following := next(todo, None)) is not None:
                self._give(following)
            ready, _ = self._ray.wait(list(self._under_way), num_returns=1)
            for reference in ready:
                self._end(self._under_way.pop(reference), reference)

    def cancel(self) -> None:
        """End what is still under way."""
        for reference in self._under_way:
            self._ray.cancel(reference)

    def _give(self, part: Part) -> None:
        sources = [self._sources[row] for row in part.rows]
        smears = {smear_of(source) for source in sources}
        first = {smear: self._first[smear] for smear in smears}
        head = self._head | {"part": part.number}
        self._under_way[self._run.remote(str(part.folder(self._work)), head, sources, first, self._setup)] = part

    def _end(self, part: Part, reference) -> None:
        errors = self._ray.exceptions
        try:
            self._ray.get(reference)
            self._done.add(part.number)
            self._refused.pop(part.number, None)
        except errors.RayTaskError as error:
            if not isinstance(error.cause, RunInUse) or not self._may_wait(part):
                raise error.cause from None
            time.sleep(1)  # its last worker is not quite dead, or its drive does not know yet
            self._give(part)
        except (errors.WorkerCrashedError, errors.OutOfMemoryError, errors.NodeDiedError) as error:
            self._refused.pop(part.number, None)
            self._note_crash(part, error)
            self._give(part)

    def _may_wait(self, part: Part) -> bool:
        since = self._refused.setdefault(part.number, time.monotonic())
        return time.monotonic() - since < 2 * STALE_S

    def _note_crash(self, part: Part, error: Exception) -> None:
        """InputError when a part's workers die again and again without finishing a photograph. One that died before it
        came to the part (its number is not in the lock) says little of the photograph: it counts a tenth."""
        journal, lock = (part.folder(self._work) / name for name in ("journal.jsonl", "lock"))
        length = journal.stat().st_size if journal.is_file() else 0
        owner = lock.read_bytes() if lock.is_file() else b""
        before, last_owner = self._lengths.get(part.number, (-1, b""))
        if before != length:
            self._crashes[part.number] = 0
        self._crashes[part.number] += 1 if owner != last_owner else 0.1
        self._lengths[part.number] = (length, owner)
        if self._crashes[part.number] > MOST_CRASHES:
            patient = self._sources[part.rows[0]].key.patient_id
            n_lines = journal.read_bytes().count(b"\n") - 1 if length else 0
            file = self._sources[part.rows[min(max(n_lines, 0), len(part.rows) - 1)]].file
            raise InputError(
                f"workers died again and again at {file} of patient {patient} ({type(error).__name__}): "
                "take the file away, or give the workers more memory, then go on with --resume"
            )


def run_part(folder: str, head: dict, sources: Sequence[Source], first: First, setup: Setup) -> int:
    """In a worker: do one part; returns how many photographs it has."""
    if setup.version != leukoscope.__version__:
        raise InputError(
            f"a node has Leukoscope {leukoscope.__version__} and the driver {setup.version}: install the same on all"
        )
    try:
        os.chdir(setup.folder)
    except OSError:
        raise InputError(
            f"{os.uname().nodename} has no folder {setup.folder}: photographs and --out must be on a drive that every "
            "node has under the same path"
        ) from None
    do_part(Path(folder), head, sources, first, _analyzer(setup))
    return len(sources)


@lru_cache(maxsize=1)
def _analyzer(setup: Setup):
    models = {}
    for task, folder, sha256 in setup.models:
        bundle = read_bundle(BUNDLED / folder)  # an absolute folder stays as it is
        if bundle.card.onnx_sha256 != sha256:
            raise ModelError(f"{bundle.path} on {os.uname().nodename} is another model than the driver's: copy it anew")
        models[task] = bundle
    device = choose_device(setup.device)
    if device.note is not None:  # a record says of all its photographs where the models ran
        raise ModelError(f"{os.uname().nodename}: {device.note}; the driver's run on {setup.device}")
    return load_analyzer(models, um_per_px=setup.um_per_px, tile_px=setup.tile_px, device=device)
