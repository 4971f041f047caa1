"""The settings of a run of `analyze`."""

from dataclasses import dataclass

from leukoscope.errors import InputError
from leukoscope.models.devices import CPU, DEVICES
from leukoscope.practice import MINIMUM_CELLS
from leukoscope.types import SPECIMENS

ENGINES = ("threads", "ray")
SAID_ELSEWHERE = ("locator", "own_cells", "whole", "device")  # in a run's head: by digest, or where not usual
NO_RESULT = ("workers", "engine", "address")  # options that change none


@dataclass(frozen=True, slots=True)
class AnalyzeOptions:
    """Settings of a run; all of them are written into its record, except those that change no result: `workers`,
    `engine`, `address`.

    locator    another model (a bundled one's name, or a folder) whose locator is used instead
    specimen   "blood" or "marrow"
    um_per_px  micrometres a pixel of every photograph; None: not known, and the record says so
    min_cells  patients with fewer counted cells are flagged and get no band; None: the specimen's own
               (`practice.MINIMUM_CELLS`)
    tile_px    longer fields are cut into tiles of this side; None: chosen by the smear's red cells
    workers    photographs analysed at a time; None: one a processor core, at most 8
    engine     "threads": this process; "ray": Ray's processes, here or on the cluster at `address` (pipeline.on_ray)
    own_cells  metrics.json of `leukoscope evaluate` with this model on labelled cells of the laboratory that the
               photographs come from: they correct the ratios together with the card's confusion matrix
    device     where the models run (`models.devices.DEVICES`): where it does not work here, on the processor
    whole      of slides count all that can hold cells, not the monolayer alone
    """

    locator: str | None = None
    specimen: str = "blood"
    um_per_px: float | None = None
    min_cells: int | None = None
    tile_px: int | None = None
    workers: int | None = None
    own_cells: str | None = None
    whole: bool = False
    engine: str = "threads"
    address: str | None = None
    device: str = CPU

    def __post_init__(self) -> None:
        if self.specimen not in SPECIMENS:
            raise InputError(f"specimen must be one of {', '.join(SPECIMENS)}, got {self.specimen!r}")
        if self.min_cells is None:
            object.__setattr__(self, "min_cells", MINIMUM_CELLS[self.specimen])
        if self.um_per_px is not None and not 0 < self.um_per_px < 100:
            raise InputError(f"um_per_px must be between 0 and 100 micrometres a pixel, got {self.um_per_px}")
        if self.min_cells < 0:
            raise InputError(f"min_cells must be 0 or more, got {self.min_cells}")
        if self.engine not in ENGINES:
            raise InputError(f"engine must be one of {', '.join(ENGINES)}, got {self.engine!r}")
        if self.address is not None and self.engine != "ray":
            raise InputError("an address is that of a Ray cluster: it needs the engine ray")
        if self.device not in DEVICES:
            raise InputError(f"device must be one of {', '.join(DEVICES)}, got {self.device!r}")
        if self.workers is not None and self.workers < 1:
            raise InputError(f"workers must be 1 or more, got {self.workers}")
