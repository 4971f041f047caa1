"""Cells as Microscopy Bulk Simple Annotations: a group a class, in pixels of the photograph."""

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from highdicom.ann import AnnotationGroup, Measurements, MicroscopyBulkSimpleAnnotations
from highdicom.sr.coding import CodedConcept
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as standard

from leukoscope.dataset.shapes import corners_of
from leukoscope.exchange import codes as c
from leukoscope.exchange.dicom_common import MANUFACTURER, MODEL, Whose, algorithm, concept, finish, fits
from leukoscope.exchange.source import ExportCell

_SCORE = c.local("score", "How sure the locator is")
_SUSPICION = c.local("suspicion", "Sum of the blast classes' probabilities")
_NO_UNITS = CodedConcept("1", "UCUM", "no units")
# The cells of one class and one kind of shape are a group: a group has one graphic type (PS3.3 C.37.1.2).
_KINDS = {"RECTANGLE": "boxes", "POLYGON": "outlines"}


@dataclass(slots=True)
class _Group:
    """The cells of a group, packed: a million of them fit a memory."""

    points: array = field(default_factory=lambda: array("f"))  # x, y, x, y, ...
    lengths: array = field(default_factory=lambda: array("l"))  # points of each cell
    score: array = field(default_factory=lambda: array("f"))
    suspicion: array = field(default_factory=lambda: array("f"))


def annotations_object(
    whose: Whose, image: Dataset, cells: Iterable[ExportCell], *, what: str, number: int
) -> tuple[Dataset, int] | None:
    """(the annotations of one photograph, how many cells); None where it has no cells, for then there is nothing to
    annotate.

    image  the object that the photograph was written as; what: names the UIDs; number: of the photograph, from 1
    """
    groups = _grouped(cells)
    if not groups:
        return None
    made = [_group(whose, n, key, group, what) for n, (key, group) in enumerate(sorted(groups.items()), 1)]
    source = Dataset(image)
    source.FrameOfReferenceUID = whose.uid(f"frame {what}")  # highdicom asks for one; a photograph has none
    annotations = MicroscopyBulkSimpleAnnotations(
        source_images=[source],
        annotation_coordinate_type="2D",
        annotation_groups=made,
        series_instance_uid=whose.uid("annotations"),
        series_number=2,
        sop_instance_uid=whose.uid(f"annotations {what}"),
        instance_number=number,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MODEL,
        software_versions=fits(whose.version or "unknown"),
        device_serial_number="0",
        content_label="CELLS",
        content_description="White cells by class",
        pixel_origin_interpretation="FRAME",
    )
    finish(annotations, whose)
    return annotations, sum(len(group.lengths) for group in groups.values())


def _grouped(cells: Iterable[ExportCell]) -> dict[tuple[str, str], _Group]:
    groups: dict[tuple[str, str], _Group] = {}
    for cell in cells:
        outline = cell.contour is not None and len(cell.contour) > 2
        group = groups.setdefault((cell.class_name or "", "POLYGON" if outline else "RECTANGLE"), _Group())
        points = cell.contour if outline else corners_of(cell.box)
        group.points.extend(v for point in points for v in point)
        group.lengths.append(len(points))
        numbers = dict(cell.numbers)
        group.score.append(numbers.get("score", np.nan))
        group.suspicion.append(numbers.get("suspicion", np.nan))
    return groups


def _group(whose: Whose, number: int, key: tuple[str, str], group: _Group, what: str) -> AnnotationGroup:
    name, kind = key
    code = c.cell_code(name) if name else c.NOT_IDENTIFIED
    ends = np.cumsum(np.frombuffer(group.lengths, np.dtype("l")))
    points = np.frombuffer(group.points, np.float32).reshape(-1, 2)
    return AnnotationGroup(
        number=number,
        uid=whose.uid(f"group {what} {name} {kind}"),
        label=fits(f"{code.display}, {_KINDS[kind]}"),
        annotated_property_category=standard.SCT.AnatomicalStructure,
        annotated_property_type=concept(code),
        graphic_type=kind,
        graphic_data=np.split(points, ends[:-1]),
        algorithm_type="AUTOMATIC",
        algorithm_identification=algorithm(whose),
        measurements=[
            Measurements(concept(code), np.frombuffer(values, np.float32), _NO_UNITS)
            for code, values in ((_SCORE, group.score), (_SUSPICION, group.suspicion))
        ],
    )
