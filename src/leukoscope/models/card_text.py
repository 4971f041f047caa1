"""A model card as text that reads both in a terminal and as Markdown."""

from leukoscope.models.bundle import Card, CropRule
from leukoscope.models.words import WordRule


def card_text(card: Card) -> str:
    """Everything a reader needs to trust a model or not: task, input, training data, results, confusion, limits."""
    lines = [f"# {card.name}", "", card.description, ""]
    lines += ["Research use only. Not for diagnosis. A morphologist must review.", ""]
    lines += [f"- task: {card.task}", f"- licence: {card.licence}", f"- ONNX file, SHA-256: {card.onnx_sha256}"]
    lines += [
        f"- input: {' x '.join(map(str, card.input_size))} px RGB{', white-balanced' if card.white_balance else ''}"
    ]
    if card.crop is not None:
        stated = {k: getattr(card.crop, k) for k in CropRule.__dataclass_fields__}
        rule = ", ".join(f"{k} {v}" for k, v in stated.items() if v is not None)
        lines.append(f"- crop: {rule}")
    if card.temperature is not None:
        lines.append(f"- temperature: {card.temperature:.4g}")
    lines += [f"- threshold {name}: {value:.4g}" for name, value in card.thresholds.items()]
    if card.taxonomy is not None:
        t = card.taxonomy
        lines += ["", "## Classes", "", f"Taxonomy {t.name}: {', '.join(t.names)}."]
        lines += [
            f"Counted: {', '.join(t.counted)}. Blasts: {', '.join(t.blasts) or 'none'}. "
            f"Artefacts: {', '.join(t.artefacts) or 'none'}."
        ]
    if card.attributes is not None:
        lines += ["", "## Words", "", *_words(card.attributes)]
    lines += ["", "## Training", "", *_nested(card.training)]
    if card.results:
        lines += ["", "## Measured results", "", *_table([_flat(row) for row in card.results])]
    if card.confusion:
        lines += ["", "## Confusion matrix", "", *_confusion(card.confusion)]
    if card.confusion_by_patient:
        by_patient = card.confusion_by_patient
        patients = f"{len(by_patient['patients'])} of unit {by_patient.get('unit', 'patient')}"
        lines += ["", f"Its cells are told apart by patient: {patients} (how much error rates differ, docs/ratio.md)."]
    if card.clinical:
        lines += ["", "## What it can know", "", *_nested(card.clinical)]
    if card.limits:
        lines += ["", "## Limits", "", *(f"- {limit}" for limit in card.limits)]
    return "\n".join(lines) + "\n"


def _words(rule: WordRule) -> list[str]:
    """What the model says of a cell beside its class, and from which probability on."""
    measured = {row.get("attribute"): row for row in rule.measured}
    rows = []
    for attribute, threshold in zip(rule.attributes.attributes, rule.thresholds, strict=True):
        of = measured.get(attribute.name, {})
        shown: dict[str, object] = {"attribute": attribute.name, "values": ", ".join(attribute.values)}
        shown |= {"macro-F1, validation": of.get("macro_f1", "")}
        sure: dict[str, object] = {"shown from": "never" if threshold is None else threshold}
        sure |= {"cells shown": of.get("shown", ""), "words right": "" if threshold is None else of.get("right", "")}
        rows.append(shown | sure)
    classes = ", ".join(rule.classes) or "no class"
    return [f"Attribute set {rule.attributes.name}, for cells called {classes}. {rule.rule}.", "", *_table(rows)]


def _nested(value: object, depth: int = 0) -> list[str]:
    """A dictionary or list as nested Markdown bullets."""
    indent = "  " * depth
    if isinstance(value, dict):
        lines = []
        for key, inner in value.items():
            if isinstance(inner, (dict, list, tuple)) and inner:
                lines += [f"{indent}- {key}:", *_nested(inner, depth + 1)]
            else:
                lines.append(f"{indent}- {key}: {_word(inner)}")
        return lines
    if isinstance(value, (list, tuple)):
        return [
            f"{indent}- "
            + ("; ".join(f"{k} {_word(v)}" for k, v in inner.items()) if isinstance(inner, dict) else _word(inner))
            for inner in value
        ]
    return [f"{indent}- {_word(value)}"]


def _flat(row: dict) -> dict:
    """Nested results as one level of columns."""
    flat: dict[str, object] = {}
    for key, value in row.items():
        if isinstance(value, dict):
            flat |= {f"{key} {inner}": v for inner, v in value.items()}
        else:
            flat[key] = value
    return flat


def _table(rows: list[dict]) -> list[str]:
    """Rows of equal or different keys as one Markdown table; a missing value is an empty cell."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return lines + ["| " + " | ".join(_word(row.get(c, "")) for c in columns) + " |" for row in rows]


def _confusion(confusion: dict) -> list[str]:
    """{"names": [...], "counts": [[...]]} as a table, rows truth and columns calls; anything else as bullets."""
    if not {"names", "counts"} <= set(confusion):
        return _nested(confusion)
    names, counts = confusion["names"], confusion["counts"]
    rows = [
        {"truth \\ called": name} | dict(zip(names, row, strict=True)) for name, row in zip(names, counts, strict=True)
    ]
    rest = {k: v for k, v in confusion.items() if k not in ("names", "counts")}
    return _table(rows) + (["", *_nested(rest)] if rest else [])


def _word(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(_word(v) for v in value)
    if isinstance(value, dict):
        return "; ".join(f"{k} {_word(v)}" for k, v in value.items())
    return "none" if value is None else str(value).replace("|", "\\|")
