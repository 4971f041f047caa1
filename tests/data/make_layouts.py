"""Miniatures of published layouts: the folders, names and files of each set, a few drawn cells in place of its own.

What is public of each layout is taken from its paper, its archive's page or its authors' code; PCM's release is known
from its paper only (annotated in CVAT, nine class names), so it is made in each of CVAT's three exports.
"""

from __future__ import annotations

import json
from pathlib import Path

from data.make_pictures import draw_field

SIZE = (40, 30)
PCM_CLASSES = ("Lymphocyte", "Neutrophil", "Basophil", "Eosinophil", "Lymphoblast", "Monocyte", "Myeloblast_AML",
               "Myeloblast_APL", "Other")  # fmt: skip
LEUKEMIA_ATTRI = ("None", "Myeloblast", "Lymphoblast", "Neutrophil", "Atypical lymphocyte", "Promonocyte", "Monoblast",
                  "Lymphocyte", "Myelocyte", "Abnormal promyelocyte", "Monocyte", "Metamyelocyte", "Eosinophil",
                  "Basophil")  # fmt: skip


def _cells(root: Path, files: tuple[str, ...], size: tuple[int, int] = SIZE) -> Path:
    for seed, file in enumerate(files):
        draw_field(root / file, size, [(20, 15, 8)], seed=seed)
    return root


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


def make_all_idb1(root: Path) -> Path:
    """Photographs with `.xyc` centroids: one of a patient with two blasts, one healthy with an empty file."""
    _cells(root, ("im/Im001_1.jpg", "im/Im034_0.jpg"), (600, 450))
    _write(root / "xyc/Im001_1.xyc", "112\t90\n\n300\t200\n")
    _write(root / "xyc/Im034_0.xyc", "")
    return root


def make_munich(root: Path) -> Path:
    """AML-Cytomorphology_LMU: a folder a code, TIFF pictures, a table of repeated labels beside them."""
    files = ("BAS/BAS_0001.tiff", "MYB/MYB_0001.tiff", "MYO/MYO_0001.tiff", "MYO/MYO_0002.tiff", "KSC/KSC_0001.tiff")
    _cells(root, tuple(f"AML-Cytomorphology/{f}" for f in files))
    _write(root / "annotations.dat", "BAS/BAS_0001.tiff BAS BAS\n")
    return root


def make_marrow_21(root: Path) -> Path:
    """BM_cytomorphology_data: a folder a code, large classes in ranges of a thousand."""
    files = ("ABE/ABE_00001.jpg", "BLA/0001-1000/BLA_00001.jpg", "BLA/1001-2000/BLA_01001.jpg", "MYB/MYB_00001.jpg")
    return _cells(root, tuple(f"BM_cytomorphology_data/{f}" for f in files))


def make_acevedo(root: Path) -> Path:
    """PBC_dataset_normal_DIB: a folder a group, the finer type in the file's name."""
    files = ("neutrophil/SNE_10.jpg", "neutrophil/BNE_11.jpg", "neutrophil/NEUTROPHIL_12.jpg", "ig/MMY_13.jpg",
             "ig/PMY_14.jpg", "ig/IG_15.jpg", "platelet/PLATELET_16.jpg", "erythroblast/ERB_17.jpg")  # fmt: skip
    return _cells(root, files)


def make_raabin(root: Path) -> Path:
    """Cropped double-labelled cells: Train, TestA and TestB, each a folder a class."""
    return _cells(
        root, ("Train/Basophil/1.jpg", "Train/Neutrophil/2.jpg", "TestA/Monocyte/3.jpg", "TestB/Eosinophil/4.jpg")
    )


def make_cnmc_folds(root: Path) -> Path:
    """C-NMC as its challenge gave it: folds of class folders, BMP."""
    names = ("fold_0/all/UID_1_1_1_all.bmp", "fold_0/hem/UID_H6_1_1_hem.bmp", "fold_1/all/UID_2_3_1_all.bmp")
    return _cells(root, tuple(f"C-NMC_training_data/{n}" for n in names))


def make_pcm(root: Path, layout: str) -> Path:
    """PCM's nine classes, one cell each, in CVAT's XML, COCO or YOLO export."""
    places = {"cvat": "images/P1.jpg", "coco": "images/default/P1.jpg", "yolo": "obj_train_data/P1.jpg"}
    _cells(root, (places[layout],))
    boxes = [(4 * i, 2, 4 * i + 4, 10) for i in range(9)]
    if layout == "cvat":
        shapes = "".join(
            f'<box label="{c}" occluded="0" xtl="{b[0]}" ytl="{b[1]}" xbr="{b[2]}" ybr="{b[3]}" z_order="0"/>'
            for c, b in zip(PCM_CLASSES, boxes, strict=True)
        )
        image = f'<image id="0" name="P1.jpg" width="40" height="30">{shapes}</image>'
        text = f"<annotations><version>1.1</version><meta><task/></meta>{image}</annotations>"
        _write(root / "annotations.xml", text)
    elif layout == "coco":
        annotations = [
            {"id": i + 1, "image_id": 1, "category_id": i + 1, "bbox": [b[0], b[1], 4, 8], "iscrowd": 0}
            for i, b in enumerate(boxes)
        ]
        categories = [{"id": i, "name": c} for i, c in enumerate(PCM_CLASSES, 1)]
        images = [{"id": 1, "file_name": "P1.jpg", "width": 40, "height": 30}]
        content = {"images": images, "annotations": annotations, "categories": categories}
        _write(root / "annotations/instances_default.json", json.dumps(content))
    else:
        lines = [f"{i} {(b[0] + 2) / 40} {6 / 30} {4 / 40} {8 / 30}" for i, b in enumerate(boxes)]
        _write(root / "obj_train_data/P1.txt", "\n".join(lines) + "\n")
        _write(root / "obj.names", "\n".join(PCM_CLASSES) + "\n")
        _write(root / "train.txt", "data/obj_train_data/P1.jpg\n")
    return root


def make_leukemia_attri(root: Path, layout: str) -> Path:
    """H_100X_C2: JSON of COCO with an attribute a key, or YOLO lines with six attributes behind each box."""
    if layout == "coco":
        _cells(root, ("images/train/4_15_1000_ALL.png",))
        categories = [{"id": i, "name": c.lower() if c == "None" else c} for i, c in enumerate(LEUKEMIA_ATTRI)]
        annotations = [
            {"id": n, "image_id": 5, "category_id": c, "bbox": [2 + 9 * n, 3, 8, 9], "attributes": {"cell_size": n}}
            for n, c in enumerate((0, 2, 9))
        ]
        images = [{"id": 5, "file_name": "4_15_1000_ALL.png", "width": 40, "height": 30}]
        content = {"images": images, "annotations": annotations, "categories": categories}
        _write(root / "json_labels/train.json", json.dumps(content))
        return root
    _cells(root, ("images/train/4_15_1000_ALL.png",))
    _write(root / "labels/train/4_15_1000_ALL.txt", "2 0.5 0.5 0.2 0.4 1 0 2 1 1 0\n0 0.2 0.2 0.1 0.1 4 4 4 4 4 4\n")
    names = ", ".join(f'"{c}"' for c in LEUKEMIA_ATTRI)
    _write(root / "WBC_v1.yaml", f"nc: 14\nnames: [{names}]\n")
    return root
