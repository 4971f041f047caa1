"""The one table of formats: readers, writers, the command line and docs/format.md are told from here.

To add a format: one file with `read_x(src) -> RawSet` (through `Intake`) or `write_x`, and a row here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from leukoscope.errors import InputError


@dataclass(frozen=True, slots=True)
class Format:
    """One format of annotations.

    reader, writer  "module:function" below `leukoscope.dataset`; "": it is not read, or not written
    reads, writes   what is understood and what is written, for the docs and the help
    beside          what the format can't hold, and where an export keeps it
    settings        keys of `Source` that its reader takes as keywords
    shares          what becomes of a set whose boxes are all shares of the picture: "refuse" or "convert"
    pictures        the folder of an export's pictures
    """

    name: str
    reads: str = ""
    reader: str = ""
    writes: str = ""
    writer: str = ""
    beside: str = ""
    settings: tuple[str, ...] = ()
    shares: str = "refuse"
    pictures: str = "images/{split}/"

    def read(self) -> Callable:
        """The function that reads a folder in this format."""
        return _function(self.reader)

    def write(self) -> Callable:
        """The function that writes a data set in this format."""
        return _function(self.writer)


def _function(place: str) -> Callable:
    module, name = place.split(":")
    return getattr(import_module(f"leukoscope.dataset.{module}"), name)


FORMATS = (
    Format(
        "yolo",
        "`.txt` labels in `labels/` or beside the pictures; boxes, outlines, poses (`kpt_shape`: the box); class "
        "names from the nearest `data.yaml`, other `.yaml` with `names`, `classes.txt` or `obj.names`; splits from "
        "folders, `train.txt` and the like, Ultralytics' `autosplit_train.txt`, or the paths in `data.yaml`",
        "yolo:read_yolo",
        "`data.yaml`, `labels/<split>`: boxes, or outlines where there are any; shares with twelve decimals",
        "export_yolo:write_yolo",
        "`leukoscope-fields.csv` (a row a picture), `leukoscope-cells.csv` (a row a cell)",
        settings=("label_attributes",),
    ),
    Format(
        "voc",
        "one `.xml` a picture: boxes, `<polygon>`, roLabelImg's `<robndbox>`, CVAT's attributes and rotation; splits "
        "from `ImageSets/Main`. An XML entity declaration is refused",
        "voc:read_voc",
        "`Annotations/NAME.xml`, `ImageSets/Main/<split>.txt`: boxes, and outlines as `<polygon>`",
        "export_voc:write_voc",
        "the element `field` of each file; CVAT's `<attributes>` of each object",
        pictures="JPEGImages/",
    ),
    Format(
        "coco",
        "`.json` files of images, annotations and categories; boxes (px, or shares of the picture as Azure ML writes "
        "them), polygons, masks as counts or as compressed text (no pycocotools needed), CVAT's rotation; splits from "
        "the file's name (`instances_train.json`) or folders",
        "coco:read_coco",
        "`annotations/instances_<split>.json`, one category list, ids from 1",
        "export_coco:write_coco",
        "further keys of each image; `source_code` and `attributes` of each annotation",
        shares="convert",
    ),
    Format(
        "cvat",
        "CVAT XML 1.1, or a task's backup: boxes (turned ones too), polygons, masks, ellipses, attributes, tags of "
        "whole pictures; of video tracks the visible keyframes, interpolated boxes are counted and left out; a tag "
        "`field` carries patient, smear, centre. CVAT's other exports are read as `coco`, `yolo`, `voc`, `datumaro`",
        "cvat:read_cvat",
        "`annotations.xml` (CVAT for images 1.1), `labels.json` for CVAT's raw label editor",
        "export_cvat:write_cvat",
        "the tag `field` on each picture, attributes of each shape: CVAT keeps both",
        pictures="images/",
    ),
    Format(
        "label-studio",
        "its JSON (not JSON-MIN): rectangles, ellipses and polygons, with the answers beside each as attributes; a "
        "choice for a whole picture",
        "label_studio:read_label_studio",
        settings=("code_attribute",),
    ),
    Format(
        "folders",
        "one folder a class, one cell a picture; splits from folders",
        "folders:read_folders",
        settings=("codes", "code_pattern"),
    ),
    Format(
        "csv",
        "a table with one row a box (corners, corner and size, or centre and size), or one row a picture (box from its "
        "mask, else full-frame); makesense.ai's and RectLabel's tables, keras-retinanet's without a header",
        "table:read_csv",
        settings=("table", "columns", "coordinates", "image_name", "mask_name"),
    ),
    Format(
        "labelme",
        "one `.json` a picture of LabelMe or X-AnyLabeling: rectangles, polygons, circles, masks; image flags",
        "labelme:read_labelme",
    ),
    Format(
        "geojson",
        "QuPath's GeoJSON (also called `qupath`), `NAME.geojson` or `NAME.geojson.gz` beside each picture: "
        "annotations; detections are predictions; an object without a class is untyped",
        "geojson:read_geojson",
        "`geojson/<split>/NAME.geojson`: one annotation a cell, which QuPath opens",
        "export_geojson:write_geojson",
        "the key `leukoscope` of each file; the metadata of each object, which QuPath keeps",
    ),
    Format(
        "via",
        "VGG Image Annotator 1 and 2: project, JSON or CSV; its class: the one attribute, or `--code-attribute`",
        "via:read_via",
        settings=("code_attribute",),
    ),
    Format(
        "supervisely",
        "a Supervisely project (`meta.json`, `img/`, `ann/`): rectangles, polygons, bitmaps, tags as attributes",
        "supervisely:read_supervisely",
    ),
    Format(
        "datumaro",
        "Datumaro's JSON, which CVAT exports: boxes, turned boxes, polygons, masks, ellipses, labels of whole pictures",
        "datumaro:read_datumaro",
    ),
    Format("xyc", "ALL-IDB1: centroids in `.xyc` files", "xyc:read_xyc", settings=("box_px",)),
)


def readable() -> tuple[str, ...]:
    """Names of the formats that can be imported."""
    return tuple(f.name for f in FORMATS if f.reader)


def writable() -> tuple[str, ...]:
    """Names of the formats that can be exported."""
    return tuple(f.name for f in FORMATS if f.writer)


ALIASES = {"qupath": "geojson"}  # names that people look for


def unaliased(name: str) -> str:
    """The format's own name of an alias; any other name as it is."""
    return ALIASES.get(name, name)


def format_named(name: str, *, among: tuple[str, ...]) -> Format:
    """A format by its name or alias; InputError where it is none of `among`."""
    name = unaliased(name)
    if name not in among:
        raise InputError(f"no data set format {name!r}: expected one of {', '.join(among)}")
    return next(f for f in FORMATS if f.name == name)
