"""The engine of one process: a few photographs under way at a time, in threads, never all."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

from leukoscope.cores import usable_cores
from leukoscope.models.bundle import Bundle
from leukoscope.models.devices import PROCESSOR, Device
from leukoscope.models.runtime import Session
from leukoscope.pipeline.fields import FieldAnalyzer, Segmenter
from leukoscope.pipeline.photographs import Analysed
from leukoscope.pipeline.ruler import Ruler, measure_ruler, smear_of
from leukoscope.pipeline.sources import Source

First = Mapping[tuple[str, ...], Sequence[Source]]  # smear -> the photographs that its ruler is measured on


def load_analyzer(
    models: Mapping[str, Bundle],
    *,
    um_per_px: float | None,
    tile_px: int | None,
    segmenter: Segmenter | None = None,
    device: Device = PROCESSOR,
) -> FieldAnalyzer:
    """The models of a run, loaded: what every photograph is analysed with, whichever engine runs it."""
    wanted = {task: models[task] for task in ("classify", "outline") if task in models}
    # A segmenter's run never asks the locator, and a one-stage detector is the classifier too.
    if segmenter is None and models["locate"] != models["classify"]:
        wanted["locate"] = models["locate"]
    with ThreadPoolExecutor(len(wanted)) as pool:  # each is a tenth of a second on a core of its own
        loaded = dict(zip(wanted, pool.map(partial(Session, device=device), wanted.values()), strict=True))
    classifier = loaded["classify"]
    locator, outliner = loaded.get("locate", classifier), loaded.get("outline")
    return FieldAnalyzer(locator, classifier, um_per_px, tile_px, outliner, segmenter)


def in_threads(sources: Iterable[Source], first: First, analyzer: FieldAnalyzer, workers: int) -> Iterator[Analysed]:
    """The photographs analysed, in the order of `sources`."""
    pool = ThreadPoolExecutor(workers)
    try:
        under_way: deque = deque()
        rulers: dict[tuple[str, ...], Future[Ruler]] = {}
        for source in sources:
            smear = smear_of(source)
            if smear not in rulers:  # before its photographs, so that none of them waits for one that waits for it
                rulers[smear] = pool.submit(measure_ruler, first[smear], analyzer.rooms)
            under_way.append(pool.submit(analyzer, source, rulers[smear].result))
            if len(under_way) > 2 * workers:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def n_workers(asked: int | None) -> int:
    """Workers of one machine: as many as asked for, else one a processor core, at most 8."""
    return asked or min(usable_cores(), 8)
