"""Adapt to a site: frozen features of its cells, a few labels, a head; and the predictor that comes of it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from leukoscope.errors import DataError, InputError
from leukoscope.train.adapt.features import Trunk, embed, reduce_together
from leukoscope.train.adapt.heads import METHODS, SiteProblem
from leukoscope.train.crops.data import CropSet

TURNS = 2


@dataclass(frozen=True, slots=True, eq=False)
class SitePredictor:
    """Probabilities of a site's cells, in the columns of `taxonomy` of the labelled cells.

    The heads that look at unlabelled cells look at those asked about, together with the ones given to `adapt`: a
    cell's probabilities depend on its company, and are best when all of a site's cells are asked about at once.
    """

    trunks: tuple[Trunk, ...]
    source: tuple[np.ndarray, ...]  # blocks
    source_labels: np.ndarray
    labelled: tuple[np.ndarray, ...]
    labels: np.ndarray
    company: tuple[np.ndarray, ...]
    n_classes: int
    method: str
    box_share: float

    def probs(self, cells: CropSet) -> np.ndarray:
        """(N, C) of the cells of a crop set cut and balanced as the labelled ones were."""
        if not len(cells):
            return np.zeros((0, self.n_classes))
        asked = embed_cells(self.trunks, cells.crops, box_share=self.box_share)
        site = [np.concatenate(parts) for parts in zip(self.labelled, asked, self.company, strict=True)]
        source, site = reduce_together(self.source, site)
        n = len(self.labels)
        problem = SiteProblem(source, self.source_labels, site[:n], self.labels, site[n:], self.n_classes)
        return METHODS[self.method](problem)[: len(cells)]


def adapt(
    trunks: Sequence[Trunk],
    source: CropSet,
    labelled: CropSet,
    *,
    unlabelled: CropSet | None = None,
    method: str = "ensemble",
) -> SitePredictor:
    """Fit a head to a site's labelled cells, beside source cells of the same taxonomy.

    trunks      frozen networks whose features stand side by side (`features.classifier_trunk`, `imagenet_trunk`)
    labelled    every cell with a label of the taxonomy; unlabelled: more cells of the site, whose labels are not used
    method      a key of `heads.METHODS`
    InputError for an unknown method; DataError when taxonomies differ or a cell has no label.
    """
    if method not in METHODS:
        raise InputError(f"no method {method!r} to adapt: there are {', '.join(METHODS)}")
    if source.taxonomy.names != labelled.taxonomy.names:
        raise DataError(
            f"source and site must be labelled in the same classes, got {', '.join(source.taxonomy.names)} "
            f"and {', '.join(labelled.taxonomy.names)}: map them to one taxonomy first"
        )
    if not len(labelled) or not len(source):
        raise DataError("adapting needs at least one labelled cell of the site and one of the source")
    if (labelled.labels < 0).any() or (source.labels < 0).any():
        raise DataError("a labelled cell has no class of the taxonomy: leave such cells out (CropSet.typed)")
    share = box_share(labelled)
    company = embed_cells(trunks, unlabelled.crops, box_share=share) if unlabelled is not None else None
    site = embed_cells(trunks, labelled.crops, box_share=share)
    return SitePredictor(
        trunks=tuple(trunks),
        source=embed_cells(trunks, source.crops, box_share=box_share(source)),
        source_labels=source.labels,
        labelled=site,
        labels=labelled.labels,
        company=company if company is not None else tuple(b[:0] for b in site),
        n_classes=len(labelled.taxonomy.names),
        method=method,
        box_share=share,
    )


def embed_cells(
    trunks: Sequence[Trunk], crops: np.ndarray, *, box_share: float, turns: int = TURNS
) -> tuple[np.ndarray, ...]:
    """The blocks of every trunk, side by side; crops (N, S, S, 3) white-balanced."""
    return tuple(block for trunk in trunks for block in embed(trunk, crops, box_share=box_share, turns=turns))


def box_share(cells: CropSet) -> float:
    """The box's longer side as a share of the crop's, by the crop rule (its mean over cells where it is in pixels)."""
    rule = cells.rule
    if rule.pad_px is None:
        return 1 / (1 + 2 * rule.pad_fraction)
    longer = (cells.boxes[:, 2:] - cells.boxes[:, :2]).max(1)
    return float((longer / (longer + 2 * rule.pad_px)).mean())
