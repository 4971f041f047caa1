"""One suspect annotation, or one find that nobody annotated."""

from dataclasses import dataclass

from leukoscope.dataset.manifest import TruthField

# In the order in which equally suspect ones are listed.
KINDS = ("wrong_type", "no_box", "not_found", "mask_without_box", "box_off_outline")
KIND_WORDS = {
    "wrong_type": "the cell looks like another type",
    "no_box": "a white cell without a box",
    "not_found": "a box where no cell is found",
    "mask_without_box": "a mask without a box",
    "box_off_outline": "a box that does not fit its outline",
}


@dataclass(frozen=True, slots=True)
class Suspect:
    """kind: of KINDS. suspicion in [0, 1]: 0.5 is undecided, more contradicts the annotation.

    field, row   the photograph and the row of its cells; None where there is no annotated cell
    box          px xyxy: the annotation's, or of what was found
    says         what the model says instead: a class, "white cell", "nothing", "mask" or "outline"
    p_class      probability of the annotated class; None where no type is judged
    p_says       probability of `says`, or the locator's score
    """

    kind: str
    suspicion: float
    field: TruthField
    row: int | None
    box: tuple[float, float, float, float]
    says: str
    p_class: float | None = None
    p_says: float | None = None
    detail: str = ""


def trusted(suspicion: float, trust: float) -> float:
    """A suspicion of a judge who is right about this set as often as `trust` in [0, 1] says: drawn towards 0.5.

    So that the doubts of heads that hardly learnt the set's types don't stand above the finds of a sure locator. The
    order within one judge's suspicions, and which of them contradict, stay as they are.
    """
    return 0.5 + trust * (suspicion - 0.5)
