"""Which column of a table is which: by what the source states, by usual names, or by place where there is no header."""

import re
from pathlib import Path

from leukoscope.dataset.names import folded
from leukoscope.dataset.picture_index import IMAGE_SUFFIXES
from leukoscope.dataset.spreadsheet import shown
from leukoscope.errors import DataError

# What each of our columns may be called where the source doesn't say; compared without case.
KNOWN_COLUMNS = {
    "image": ("file", "image", "filename", "file_name", "image_name", "img_name", "path", "image_path"),
    "label": ("label", "class", "class_name", "category", "cell_type", "label_name"),
    "x0": ("x0", "xmin", "x_min", "left"),
    "y0": ("y0", "ymin", "y_min", "top"),
    "x1": ("x1", "xmax", "x_max", "right"),
    "y1": ("y1", "ymax", "y_max", "bottom"),
    "x": ("x", "bbox_x", "box_x"),
    "y": ("y", "bbox_y", "box_y"),
    "cx": ("cx", "x_center", "x_centre", "center_x", "centre_x", "xcenter", "xc"),
    "cy": ("cy", "y_center", "y_centre", "center_y", "centre_y", "ycenter", "yc"),
    "w": ("w", "bbox_width", "bbox_w", "box_width", "width"),
    "h": ("h", "bbox_height", "bbox_h", "box_height", "height"),
    "x2": ("x2",),
    "y2": ("y2",),
    "bbox_xywh": ("bbox_xywh", "xywh"),
    "bbox_xyxy": ("bbox_xyxy", "xyxy"),
    "image_width": ("image_width", "img_width", "image_w", "width"),
    "image_height": ("image_height", "img_height", "image_h", "height"),
    "score": ("score", "confidence", "conf"),
    "split": ("split", "set", "subset"),
    "patient_id": ("patient_id", "patient", "subject"),
    "smear_id": ("smear_id", "smear", "slide"),
    "center": ("center", "centre", "site"),
}
# The ways to write a box, each with the columns that it needs; the first that is there is taken.
BOX_FORMS = {
    "corners": ("x0", "y0", "x1", "y1"),
    "corner and size": ("x", "y", "w", "h"),
    "centre and size": ("cx", "cy", "w", "h"),
    "one column of x, y, width, height": ("bbox_xywh",),
    "one column of x0, y0, x1, y1": ("bbox_xyxy",),
}
_SIZES = ("w", "h", "image_width", "image_height")  # `width` is the box's or the picture's
_PARTS_OF_A_BOX = ("x0", "y0", "x1", "y1", "x2", "y2", "x", "y", "cx", "cy")
_LIKE_A_BOX = re.compile(
    r"(x|y)\d?|(x|y)_?(min|max|c|centre|center|tl|br)|c(x|y)|(b?box|bounding_?box|bndbox|bbox_.+|rect|roi|geometry)"
    r"|polygons?|points|segmentation|contour|rle|encoded_?pixels|region_shape_attributes|coordinates"
)
# Tables without a header: keras-retinanet's, makesense.ai's, and a plain list of pictures and classes.
_HEADERLESS = {
    6: ("image", "x0", "y0", "x1", "y1", "label"),
    8: ("label", "x", "y", "w", "h", "image", "image_width", "image_height"),
    2: ("image", "label"),
}


def match_columns(header: list[str], stated: dict[str, str], path: Path) -> dict[str, str]:
    """{our column: the table's}, from what is stated and else from KNOWN_COLUMNS; `image` and `label` are needed."""
    unknown = sorted(set(stated) - set(KNOWN_COLUMNS))
    if unknown:
        raise DataError(f"columns can't state {shown(unknown)}: expected some of {', '.join(KNOWN_COLUMNS)}")
    absent = sorted(set(stated.values()) - set(header))
    if absent:
        raise DataError(f"{path} has no column {shown(absent)}: it has {shown(header)}; state one of those")
    names = dict(stated)
    for ours, candidates in KNOWN_COLUMNS.items():
        taken = set(stated.values()) | ({names.get("w"), names.get("h")} if ours in _SIZES else set())
        headings = [h for c in candidates for h in header if folded(h) == c and h not in taken]
        if ours in names or not headings:
            continue
        if len(headings) > 1 and ours not in _SIZES:
            listed = shown(h for h in header if h in headings).replace(", ", " or ")
            raise DataError(f"{path}: {ours} could be column {listed}; state which in the source's [columns]")
        names[ours] = headings[0]
    missing = [c for c in ("image", "label") if c not in names]
    if missing:
        raise DataError(
            f"{path} has no column for {', '.join(missing)}: it has {shown(header)}; "
            f"state which in the source's [columns]"
        )
    return names


def box_form(names: dict[str, str], header: list[str], path: Path, *, has_masks: bool) -> tuple[str, dict[str, str]]:
    """(form of the box, "" for none; the columns with each in its role). DataError where only a part of a box is there,
    or a column that looks like a box is not used: a full-frame box would be untrue."""
    names = dict(names)
    if "x1" not in names and "y1" not in names and {"x0", "y0", "w", "h"} <= set(names):
        names |= {"x": names.pop("x0"), "y": names.pop("y0")}
    if {"x1", "y1", "x2", "y2"} <= set(names) and "x0" not in names and "y0" not in names:
        names |= {"x0": names["x1"], "y0": names["y1"], "x1": names.pop("x2"), "y1": names.pop("y2")}
    form = next((f for f, needed in BOX_FORMS.items() if all(c in names for c in needed)), "")
    if form in ("corners", "", *list(BOX_FORMS)[3:]):
        # `width` beside corners is the picture's.
        for size, picture in (("w", "image_width"), ("h", "image_height")):
            if size in names:
                names.setdefault(picture, names.pop(size))
    if form or has_masks:
        return form, names
    part = [c for c in _PARTS_OF_A_BOX if c in names]
    if part:
        forms = [f for f in BOX_FORMS.values() if set(f) & set(part)]
        missing = [c for c in forms[0] if c not in names]
        raise DataError(
            f"{path} has no column for {', '.join(missing)}: it has {shown(header)}; "
            f"state which in the source's [columns]"
        )
    used = set(names.values())
    like = [h for h in header if h not in used and _LIKE_A_BOX.fullmatch(folded(h).strip())]
    if "region_shape_attributes" in like:
        raise DataError(f"{path} is a table of VGG Image Annotator: import it as via, not as csv")
    if like:
        raise DataError(
            f"{path}: column {shown(like)} looks like a box and is not used: state what it is with --columns "
            f"(bbox_xywh={shown(like[:1])}, bbox_xyxy={shown(like[:1])}, x0=…, y0=…, x1=…, y1=…), or remove it"
        )
    return "", names


def header_of(rows: list[list[str]], path: Path) -> list[str] | None:
    """The columns' names where the table has no line of them, None where it has: that line names no picture."""
    first = rows[0] if rows else []
    places = [n for n, value in enumerate(first) if value.lower().endswith(IMAGE_SUFFIXES)]
    if not places:
        return None
    guess = _HEADERLESS.get(len(first))
    if guess is None or guess.index("image") not in places:
        raise DataError(f"{path} has no header line (it begins with {shown(first)[:80]}): expected their names; add it")
    return list(guess)
