"""A photograph as a VL Microscopic Image: what annotations refer to must be an object that exists.

It is no whole slide: nobody knows where on the slide a photograph was taken (docs/decisions/0037).
"""

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from leukoscope.exchange.dicom_common import Whose, add_specimen, finish, start
from leukoscope.exchange.source import Photograph
from leukoscope.images import open_stored

VL_MICROSCOPIC_IMAGE = "1.2.840.10008.5.1.4.1.1.77.1.2"
_LOSSY = {"JPEG": "ISO_10918_1"}  # how DICOM names a file's compression


def image_object(whose: Whose, photograph: Photograph, pixels: np.ndarray, path: Path | str, *, number: int) -> Dataset:
    """The photograph's pixels, unchanged and uncompressed. Nothing of its file but the pixels is kept.

    pixels  (H, W, 3) uint8 RGB; path: its file, to say whether it was lossily compressed before
    number  of the photograph among the patient's, from 1
    """
    image = start(whose, VL_MICROSCOPIC_IMAGE, f"photograph {photograph.place}")
    image.Modality, image.SeriesInstanceUID, image.SeriesNumber = "GM", whose.uid("photographs"), 1
    image.InstanceNumber, image.PatientOrientation = number, ""
    image.ImageType, image.BurnedInAnnotation = ["DERIVED", "PRIMARY"], "NO"
    if photograph.um_per_px is not None:
        image.ImageComments = f"{photograph.um_per_px:.6g} micrometres a pixel"
    image.SamplesPerPixel, image.PhotometricInterpretation, image.PlanarConfiguration = 3, "RGB", 0
    image.Rows, image.Columns = pixels.shape[:2]
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 8, 8, 7, 0
    image.AcquisitionContextSequence = []
    data = np.ascontiguousarray(pixels).tobytes()
    _say_lossy(image, path, len(data))
    add_specimen(image, whose, photograph.smear_id)
    image.PixelData = data + b"\0" * (len(data) % 2)
    image["PixelData"].VR = "OB"
    finish(image, whose)
    return image


def header_of(image: Dataset) -> Dataset:
    """What a report needs of an image that it refers to: everything but the pixels and the smear."""
    head = Dataset()
    for element in image:
        if element.VR != "SQ" and element.keyword != "PixelData":
            head.add(element)
    return head


def _say_lossy(image: Dataset, path: Path | str, n_bytes: int) -> None:
    """Whether the pixels were lossily compressed once: that can't be undone, so DICOM asks to say so."""
    with open_stored(path) as file:
        method, stored_bytes = _LOSSY.get(file.image_format), file.n_bytes
    image.LossyImageCompression = "00" if method is None else "01"
    if method is not None:
        image.LossyImageCompressionRatio = f"{n_bytes / stored_bytes:.4g}"
        image.LossyImageCompressionMethod = method
