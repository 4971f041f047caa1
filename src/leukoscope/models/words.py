"""What a classifier may say of a cell beside its class, and from which probability on: the card's part on attributes.

A model that has learnt eleven attributes does not know all of them equally well, and knows them on some classes of
cells only. The card therefore states for each attribute the probability from which its words were right, on
validation cells, as often as the rule asks; without such a probability the attribute is never shown.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from leukoscope.errors import ModelError, TaxonomyError
from leukoscope.models.probabilities import softmax
from leukoscope.taxonomy import AttributeSet


@dataclass(frozen=True, slots=True)
class WordRule:
    """Which attributes a model's second output speaks of, and when its words are shown.

    attributes    the set; the output's columns are its values in order
    classes       classes whose cells the attributes were learnt and measured on: a cell called anything else gets none
    temperatures  row-aligned with the attributes
    thresholds    row-aligned: the lowest calibrated probability at which a value is shown; None: never
    rule          the thresholds' rule in words
    measured      row-aligned dicts of what the validation cells gave ("macro_f1", "shown", "right", ...)
    """

    attributes: AttributeSet
    classes: tuple[str, ...]
    temperatures: tuple[float, ...]
    thresholds: tuple[float | None, ...]
    rule: str
    measured: tuple[dict, ...] = ()

    def __post_init__(self) -> None:
        for key in ("classes", "temperatures", "thresholds", "measured"):
            object.__setattr__(self, key, tuple(getattr(self, key)))
        n = len(self.attributes.names)
        if len(self.temperatures) != n or len(self.thresholds) != n or not all(t > 0 for t in self.temperatures):
            raise ModelError(
                f"attribute set {self.attributes.name!r} has {n} attributes: a card needs a positive temperature and a "
                f"threshold for each, got {len(self.temperatures)} and {len(self.thresholds)}"
            )

    @property
    def shown(self) -> tuple[str, ...]:
        """Names of the attributes that are shown at all."""
        return tuple(n for n, t in zip(self.attributes.names, self.thresholds, strict=True) if t is not None)

    def probs(self, values: np.ndarray) -> list[np.ndarray]:
        """Calibrated probabilities (N, K) of each attribute's K values, from the model's output (N, V)."""
        if values.ndim != 2 or values.shape[1] != self.attributes.n_values:
            raise ModelError(
                f"the model gave attributes of shape {values.shape}; set {self.attributes.name!r} has "
                f"{self.attributes.n_values} values: the card and the ONNX file do not belong together"
            )
        out = []
        for columns, temperature in zip(self.attributes.slices(), self.temperatures, strict=True):
            out.append(softmax(values[:, columns], temperature))
        return out

    def say(self, values: np.ndarray, called: list[str]) -> list[dict[str, str]]:
        """For each cell {attribute: value} of what is sure enough. values (N, V); called: N class names."""
        said: list[dict[str, str]] = [{} for _ in called]
        probs = self.probs(values)
        for attribute, threshold, of_values in zip(self.attributes.attributes, self.thresholds, probs, strict=True):
            if threshold is None:
                continue
            for cell in np.flatnonzero(of_values.max(1) >= threshold):
                if called[cell] in self.classes:
                    said[cell][attribute.name] = attribute.values[int(of_values[cell].argmax())]
        return said

    def to_dict(self) -> dict:
        """Plain types for the card; `from_dict` reads it back."""
        return {
            "set": self.attributes.to_dict(),
            "set_sha256": self.attributes.sha256(),
            "classes": list(self.classes),
            "temperatures": list(self.temperatures),
            "thresholds": list(self.thresholds),
            "rule": self.rule,
            "measured": list(self.measured),
        }

    @classmethod
    def from_dict(cls, values: dict) -> WordRule:
        """The inverse of `to_dict`; ModelError where a part is missing or was edited."""
        try:
            attributes = AttributeSet.from_dict(values["set"])
            if attributes.sha256() != values["set_sha256"]:
                raise ModelError(f"attribute set {attributes.name!r} does not fit its digest: the card was edited")
            keys = ("classes", "temperatures", "thresholds", "rule", "measured")
            return cls(attributes, **{k: values[k] for k in keys})
        except (KeyError, TypeError, TaxonomyError) as error:
            raise ModelError(f"a card's attributes are damaged: {error}") from None
