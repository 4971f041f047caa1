"""Pascal VOC: one XML file a picture, splits as lists of names in `ImageSets/Main`.

Corners are taken as they stand, as continuous px: the annotation tools that write this format store drawn
corners, not the 1-based inclusive pixels of the original challenge.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path
from xml.parsers import expat

from leukoscope.dataset.raw import ImageIndex, Issue, RawCell, RawField, RawSet, image_size, read_text, source_folder
from leukoscope.errors import DataError

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_MASK_FOLDERS = ("masks", "SegmentationClass", "SegmentationObject")


def read_voc(src: str | Path) -> RawSet:
    """Read a VOC folder; DataError names an XML file that is malformed or holds no annotation."""
    root = source_folder(src)
    index = ImageIndex(root, leave_out=_MASK_FOLDERS)
    annotations = sorted(root.rglob("*.xml"))
    if not annotations:
        raise DataError(
            f"{root} is not a VOC data set: expected .xml annotation files; got {len(index.files)} pictures and "
            f"no .xml; check the path and the format"
        )
    splits = _read_splits(root)
    result = RawSet(root)
    used: dict[str, str] = {}
    for path in annotations:
        tree = parse_xml(path)
        if tree.tag != "annotation":
            raise DataError(f"{path} is no VOC annotation: expected <annotation>, got <{tree.tag}>; move it elsewhere")
        name = path.relative_to(root).as_posix()
        file = index.find(tree.findtext("filename") or path.stem) or index.find(path.stem)
        if file is None:
            result.annotations_without_image.append(name)
            continue
        if file in used:
            raise DataError(f"{name} and {used[file]} both annotate {file}: expected one file a picture; remove one")
        used[file] = name
        field = _read_annotation(tree, root, file, result.issues)
        if field is not None:
            result.fields.append(replace(field, split=splits.get(Path(file).stem) or splits.get(path.stem)))
    result.images_without_annotation = [file for file in index.files if file not in used]
    return result


def parse_xml(path: Path) -> ElementTree.Element:
    """Parse an XML file that may be hostile: a declared entity is refused, nothing outside the file is opened.

    Raises DataError with the line of the fault.
    """
    builder = ElementTree.TreeBuilder()
    parser = expat.ParserCreate()
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data

    def refuse(name: str, *_: object) -> None:
        raise DataError(f"{path} declares the XML entity {name!r}: expected plain annotations; remove the declaration")

    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(path.read_bytes(), True)
        return builder.close()
    except expat.ExpatError as error:
        raise DataError(f"{path} is not well-formed XML ({error}): export it again or remove it") from None


def _read_annotation(tree: ElementTree.Element, root: Path, file: str, issues: list[Issue]) -> RawField | None:
    try:
        width, height = image_size(root / file)
    except DataError as error:
        issues.append(Issue(file, "dropped", "unreadable picture", str(error)))
        return None
    stated = (tree.findtext("size/width"), tree.findtext("size/height"))
    if None not in stated and stated not in ((str(width), str(height)), ("0", "0")):
        detail = f"annotation {stated[0]}x{stated[1]}, picture {width}x{height}"
        issues.append(Issue(file, "noted", "stated size differs", detail))
    cells = []
    for position, entry in enumerate(tree.iter("object")):
        code = (entry.findtext("name") or "").strip()
        try:
            box = tuple(float(entry.findtext(f"bndbox/{corner}", "")) for corner in _CORNERS)
        except ValueError:
            issues.append(Issue(file, "dropped", "box without four numbers", f"object {position}, {code or 'no name'}"))
            continue
        cells.append(RawCell(box, code))
    return RawField(file, width, height, tuple(cells))


def _read_splits(root: Path) -> dict[str, str]:
    """{stem: split} from ImageSets/Main; a picture that two lists name is an error."""
    splits: dict[str, str] = {}
    for split in ("train", "val", "test"):
        for listing in sorted(root.rglob(f"ImageSets/Main/{split}.txt")):
            for line in read_text(listing).splitlines():
                stem = line.split()[0] if line.strip() else None
                if stem is None:
                    continue
                if splits.get(stem, split) != split:
                    raise DataError(
                        f"{listing} lists {stem}, which is in {splits[stem]} too: expected one split a picture"
                    )
                splits[stem] = split
    return splits
