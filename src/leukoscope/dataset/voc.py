"""Pascal VOC: one XML file a picture, splits as lists of names in `ImageSets/Main`.

Corners are taken as they stand, as continuous px: the annotation tools that write this format store drawn
corners, not the 1-based inclusive pixels of the original challenge.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from os.path import splitext
from pathlib import Path
from xml.parsers import expat

from leukoscope.dataset.files import ImageIndex, files_under, read_text
from leukoscope.dataset.manifest import SPLITS
from leukoscope.dataset.raw import Picture, RawCell, RawField, RawSet, number, source_folder, take_picture
from leukoscope.errors import DataError, InputError

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_MASK_FOLDERS = ("masks", "SegmentationClass", "SegmentationObject")


def read_voc(src: str | Path) -> RawSet:
    """Read a VOC folder; DataError names an XML file that is malformed or holds no annotation."""
    root = source_folder(src)
    index = ImageIndex(root, leave_out=_MASK_FOLDERS)
    annotations = files_under(root, (".xml",))
    if not annotations:
        raise DataError(
            f"{root} is not a VOC data set: expected .xml annotation files; got {len(index.files)} pictures and "
            f"no .xml; check the path and the format"
        )
    splits = _read_splits(root)
    result = RawSet(root)
    used: dict[str, str] = {}
    for name in annotations:
        tree = parse_xml(f"{root}/{name}")
        if tree.tag != "annotation":
            raise DataError(f"{name} is no VOC annotation: expected <annotation>, got <{tree.tag}>; move it elsewhere")
        stem = splitext(name.rpartition("/")[2])[0]
        file = index.find(tree.findtext("filename") or stem) or index.find(stem)
        n_objects = sum(1 for _ in tree.iter("object"))
        result.n_objects += n_objects
        if file is None:
            result.without_image(name, n_objects)
            continue
        if file in used:
            raise DataError(f"{name} and {used[file]} both annotate {file}: expected one file a picture; remove one")
        used[file] = name
        picture = take_picture(result, file, n_objects)
        if picture is not None:
            field = _read_annotation(tree, picture, file, result)
            result.fields.append(
                replace(field, split=splits.get(splitext(file.rpartition("/")[2])[0]) or splits.get(stem))
            )
    index.note_elsewhere(result)
    result.images_without_annotation = [file for file in index.files if file not in used]
    return result


def parse_xml(path: Path | str) -> ElementTree.Element:
    """Parse an XML file that may be hostile: a declared entity is refused, nothing outside the file is opened.

    Raises DataError with the line of the fault.
    """
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror}") from None
    builder = ElementTree.TreeBuilder()
    parser = expat.ParserCreate()
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data

    def refuse(name: str, *_: object) -> None:
        raise DataError(f"{path} declares the XML entity {name!r}: expected plain annotations; remove the declaration")

    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(data, True)
        return builder.close()
    except expat.ExpatError as error:
        raise DataError(f"{path} is not well-formed XML ({error}): export it again or remove it") from None


def _read_annotation(tree: ElementTree.Element, picture: Picture, file: str, result: RawSet) -> RawField:
    stated = (tree.findtext("size/width"), tree.findtext("size/height"))
    note_other_size(result, file, stated, picture)
    cells = []
    for position, entry in enumerate(tree.iter("object")):
        code = (entry.findtext("name") or "").strip()
        boxes = entry.findall("bndbox")
        try:
            box = tuple(number(entry.findtext(f"bndbox/{corner}", "")) for corner in _CORNERS)
        except ValueError:
            result.drop(file, "box without four numbers", f"object {position}, {code or 'no name'}")
            continue
        if len(boxes) > 1:
            result.note(file, "object of several boxes, the first taken", f"object {position}, {code}", 1)
        cells.append(RawCell(box, code))
    return RawField(file, picture.width, picture.height, tuple(cells), sha256=picture.sha256)


def note_other_size(result: RawSet, file: str, stated: tuple[str | None, str | None], picture: Picture) -> None:
    """List a picture whose annotation states another size; 0x0 is "nobody filled it in"."""
    if None not in stated and stated not in ((str(picture.width), str(picture.height)), ("0", "0")):
        detail = f"annotation {stated[0][:20]}x{stated[1][:20]}, picture {picture.width}x{picture.height}"
        result.note(file, "stated size differs", detail)


def _read_splits(root: Path) -> dict[str, str]:
    """{stem: split} from ImageSets/Main; a picture that two lists name is an error."""
    splits: dict[str, str] = {}
    lists = [f for f in files_under(root, (".txt",)) if f"/{f}".rpartition("/")[0].endswith("/ImageSets/Main")]
    for listing in lists:
        split = Path(listing).stem
        for line in read_text(root / listing).splitlines() if split in SPLITS else ():
            stem = line.split()[0] if line.strip() else None
            if stem is None:
                continue
            if splits.get(stem, split) != split:
                raise DataError(f"{listing} lists {stem}, which is in {splits[stem]} too: expected one split a picture")
            splits[stem] = split
    return splits
