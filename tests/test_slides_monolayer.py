"""Where to count on a slide: the finder against the truth of rendered smears, and its rules on tiles of known make."""

from __future__ import annotations

import numpy as np
import pytest

from leukoscope.errors import ImageError
from leukoscope.images.slides.monolayer import (
    APART,
    COUNTED,
    FEATHERED,
    NOT_STAINED,
    THICK,
    Glass,
    TileQuality,
    judge,
    learn_glass,
    measure_tile,
    smooth,
)
from leukoscope.images.slides.slide import Level, SlideFacts, level_for
from leukoscope.images.slides.survey import survey
from leukoscope.pipeline.slides import _by_red_cells, cut_regions
from leukoscope.simulate.slide import RenderedSlide, SlideOptions

GLASS_RGB, CELL_RGB = (240, 238, 236), (200, 150, 160)


def smear(covered: float, two_deep: float, *, cell: tuple[int, ...] = CELL_RGB, seed: int = 0) -> np.ndarray:
    """A tile at 1 µm/px: squares of 6 px, a share of them covered, and of those a share twice."""
    rng = np.random.default_rng(seed)
    layers = (rng.random((21, 21)) < covered) * (1.0 + (rng.random((21, 21)) < two_deep))
    density = np.log(np.array(GLASS_RGB) / np.array(cell))
    pixels = np.array(GLASS_RGB) * np.exp(-np.kron(layers, np.ones((6, 6)))[..., None] * density)
    return np.clip(pixels + rng.normal(0, 1, pixels.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def glass() -> Glass:
    return learn_glass([smear(c, t, seed=n) for n, (c, t) in enumerate([(0.4, 0), (0.5, 0.02), (0.97, 0.8), (0.1, 0)])])


def test_glass_and_one_layer_are_learnt_from_the_slide_itself(glass):
    assert np.abs(np.array(glass.color) - GLASS_RGB).max() < 3
    assert glass.one_layer == pytest.approx(np.log(GLASS_RGB[1] / CELL_RGB[1]), abs=0.03)
    assert learn_glass([np.full((100, 100, 3), 255, np.uint8)]) is None


@pytest.mark.parametrize(
    ("tile", "verdict"),
    [
        (smear(0.45, 0.03), COUNTED),
        (smear(0.25, 0.0), COUNTED),
        (smear(0.06, 0.0), FEATHERED),
        (smear(0.6, 0.4), THICK),
        (smear(0.95, 0.0), THICK),
        (smear(0.4, 0.0, cell=(120, 120, 118)), NOT_STAINED),
    ],
)
def test_a_tile_is_judged_as_a_microscopist_would(glass, tile, verdict):
    assert judge(measure_tile(tile, glass)) == verdict


def test_the_verdict_does_not_depend_on_stain_or_lamp():
    for cell, dim in (((170, 100, 120), 1.0), ((220, 190, 195), 1.0), (CELL_RGB, 0.7)):
        tiles = [(dim * smear(c, t, cell=cell)).astype(np.uint8) for c, t in ((0.45, 0.02), (0.9, 0.6))]
        found = learn_glass(tiles)
        assert [judge(measure_tile(t, found)) for t in tiles] == [COUNTED, THICK]


def test_glass_may_be_as_white_as_where_nothing_was_scanned():
    tiles = [np.minimum(smear(c, t).astype(int) + 40, 255).astype(np.uint8) for c, t in ((0.45, 0.02), (0.9, 0.6))]
    found = learn_glass(tiles)
    assert min(found.color) >= 253 and [judge(measure_tile(t, found)) for t in tiles] == [COUNTED, THICK]


def test_greyish_red_cells_are_no_nuclei():
    """In some laboratories red cells take nearly as much red light as green: depth tells nuclei, not colour."""
    tiles = [smear(c, t, cell=(196, 186, 190)) for c, t in ((0.45, 0.02), (0.7, 0.6))]
    found = learn_glass(tiles)
    assert [judge(measure_tile(t, found)) for t in tiles] == [COUNTED, THICK]


def test_single_tiles_go_by_their_neighbours_and_small_patches_are_left():
    rows = ["TTTTTTTTTT", "TTTTTTTTTM", "MMMMMMMMTT", "MMMTMMMMTT", "MMMMMMMMTT", "FFFFFFFFFF"]
    found = smooth(np.array([list(r) for r in rows]))
    assert found[3, 3] == COUNTED and found[1, 9] == THICK
    lonely = np.array([list("MMMMMMMMM.MM"), list("MMMMMMMMM.MM")])
    assert (smooth(lonely)[:, 10:] == APART).all()


def test_empty_tiles_are_empty():
    assert judge(None) == judge(TileQuality(0.0, 0.0, True)) == "."


class Drawn:
    """A rendered slide as an open one, drawn when it is read: at full resolution and four times smaller."""

    path = "drawn"

    def __init__(self, options: SlideOptions) -> None:
        self.slide = RenderedSlide(options)
        width, height = options.width, options.height
        levels = (Level(1.0, width, height), Level(4.0, width // 4, height // 4))
        self.facts = SlideFacts("drawn", "drawn", options.um_per_px, levels)
        rows, columns = self.slide.grid
        strips = [np.concatenate([self.slide.tile(r, c) for c in range(columns)], 1) for r in range(rows)]
        self.pixels = np.concatenate(strips)[:height, :width]
        self.small = self.pixels.reshape(height // 4, 4, width // 4, 4, 3).mean((1, 3)).astype(np.uint8)

    def read(self, box, *, level=0, plane=0):
        x0, y0, x1, y1 = box
        return (self.small if level else self.pixels)[y0:y1, x0:x1]


@pytest.fixture(scope="module")
def drawn() -> Drawn:
    return Drawn(SlideOptions(5120, 1536, 4))


def test_the_monolayer_is_found_where_it_was_drawn(drawn):
    plan = survey(drawn, 0.25)
    rows, columns = plan.verdicts.shape
    step = plan.tile_px / 4
    x, y = np.meshgrid((np.arange(4 * columns) + 0.5) * step, (np.arange(4 * rows) + 0.5) * step)
    true = drawn.slide.is_monolayer(x, y).reshape(rows, 4, columns, 4).mean((1, 3))
    found = plan.verdicts == COUNTED
    clear = (true == 0) | (true == 1)  # no border of the band runs through
    assert clear.sum() >= 15 and (found == (true == 1))[clear].mean() > 0.9
    assert {"T", "F", "M"} <= set(plan.verdicts.ravel())


def test_whole_takes_all_that_is_not_glass(drawn):
    verdicts = survey(drawn, 0.25, whole=True).verdicts
    assert (verdicts == COUNTED).mean() > 0.8


def test_a_slide_that_states_no_scale_has_that_of_its_red_cells(drawn):
    assert _by_red_cells(drawn) == pytest.approx(drawn.facts.um_per_px, rel=0.15)


def test_regions_cover_what_is_counted_once(drawn):
    plan = survey(drawn, 0.25)
    count = np.zeros(drawn.pixels.shape[:2], int)
    for box, core, keep in cut_regions(plan, drawn.facts.size, 100, 12):
        x0, y0, x1, y1 = core
        count[y0:y1, x0:x1] += 1
        for outer, inner in ((box, keep), (keep, core)):
            assert outer[0] <= inner[0] and outer[1] <= inner[1] and outer[2] >= inner[2] and outer[3] >= inner[3]
    counted = np.kron(plan.verdicts == COUNTED, np.ones((plan.tile_px, plan.tile_px), int))
    assert (count == counted[: count.shape[0], : count.shape[1]]).all()


def test_a_slide_of_which_nothing_can_be_read_is_given_up_soon():
    class Broken:
        path, n = "broken", 0
        facts = SlideFacts("r", "v", 0.25, (Level(1, 100_000, 80_000),))

        def read(self, box, *, level=0, plane=0):
            self.n += 1
            raise ImageError("damaged", "no tile")

    slide = Broken()
    with pytest.raises(ImageError, match="none of 128 places"):
        survey(slide, 0.25)
    assert slide.n <= 130


def test_the_level_for_a_look_is_never_coarser_than_asked():
    facts = SlideFacts("r", "v", 0.25, (Level(1, 8, 8), Level(4, 2, 2), Level(16, 1, 1)))
    assert [level_for(facts, d) for d in (1, 3, 4, 10, 16, 99)] == [0, 0, 1, 1, 2, 2]
