"""The heads of a rendered slide's DICOM files: VL Whole Slide Microscopy Image (PS3.3 A.32.8), without pixels."""

from dataclasses import dataclass, field

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import JPEGBaseline8Bit, VLWholeSlideMicroscopyImageStorage, generate_uid

_DATE, _TIME = "20260101", "120000"
_WORDS = "Rendered by leukoscope simulate: a drawing, not a photograph of anybody's cells"


@dataclass(frozen=True, slots=True)
class Series:
    """What the files of one slide share. width_mm, height_mm: of the finest level."""

    width_mm: float
    height_mm: float
    study: str = field(default_factory=generate_uid)
    series: str = field(default_factory=generate_uid)
    frame: str = field(default_factory=generate_uid)
    specimen: str = field(default_factory=generate_uid)

    def image(
        self, number: int, kind: tuple[str, str], size: tuple[int, int], *, tile_px: int, mm_per_px: float
    ) -> Dataset:
        """A level. kind: third and fourth value of its ImageType; size: width and height in px."""
        ds = self._common(number, kind, size, tile_px)
        n_frames = -(-size[0] // tile_px) * -(-size[1] // tile_px)
        ds.NumberOfFrames, ds.DimensionOrganizationType = n_frames, "TILED_FULL"
        ds.SpecimenLabelInImage = "NO"
        self._place(ds, mm_per_px, kind[1])
        return ds

    def label(self, number: int, width: int, height: int) -> Dataset:
        """The label's picture, in one tile."""
        ds = self._common(number, ("LABEL", "NONE"), (width, height), None)
        ds.NumberOfFrames, ds.DimensionOrganizationType = 1, "TILED_FULL"
        ds.SpecimenLabelInImage = "YES"
        ds.LabelText, ds.BarcodeValue = "RENDERED", "RENDERED"
        self._place(ds, self.width_mm / width, "NONE")
        return ds

    def _common(self, number: int, kind: tuple[str, str], size: tuple[int, int], tile_px: int | None) -> Dataset:
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
        ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = VLWholeSlideMicroscopyImageStorage
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = generate_uid()
        ds.ImageType = ["DERIVED", "PRIMARY", *kind]
        ds.StudyDate = ds.SeriesDate = ds.ContentDate = _DATE
        ds.StudyTime = ds.SeriesTime = ds.ContentTime = _TIME
        ds.AcquisitionDateTime = _DATE + _TIME
        ds.AccessionNumber, ds.Modality, ds.Manufacturer = "", "SM", "Leukoscope"
        ds.ManufacturerModelName, ds.DeviceSerialNumber, ds.SoftwareVersions = "simulate", "0", "1"
        ds.ReferringPhysicianName, ds.PatientName, ds.PatientID = "", "Rendered^Smear", "RENDERED"
        ds.PatientBirthDate = ds.PatientSex = ds.StudyID = ds.PositionReferenceIndicator = ""
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = self.study, self.series, self.frame
        ds.SeriesNumber, ds.InstanceNumber = 1, number
        ds.ContainerIdentifier, ds.IssuerOfTheContainerIdentifierSequence = "RENDERED", Sequence()
        ds.ContainerTypeCodeSequence = Sequence([code("433466003", "SCT", "Microscope slide")])
        specimen = Dataset()
        specimen.SpecimenIdentifier, specimen.SpecimenUID = "RENDERED", self.specimen
        specimen.IssuerOfTheSpecimenIdentifierSequence = Sequence()
        specimen.SpecimenShortDescription, specimen.SpecimenPreparationSequence = "drawn blood smear", Sequence()
        ds.SpecimenDescriptionSequence = Sequence([specimen])
        ds.AcquisitionContextSequence = Sequence()
        ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "YBR_FULL_422", 0
        ds.Columns, ds.Rows = (tile_px, tile_px) if tile_px else size
        ds.TotalPixelMatrixColumns, ds.TotalPixelMatrixRows = size
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
        ds.BurnedInAnnotation, ds.ImageComments = "NO", _WORDS
        ds.LossyImageCompression, ds.LossyImageCompressionMethod = "01", "ISO_10918_1"
        ds.LossyImageCompressionRatio = "10"
        ds.VolumetricProperties, ds.FocusMethod, ds.ExtendedDepthOfField = "VOLUME", "AUTO", "NO"
        return ds

    def _place(self, ds: Dataset, mm_per_px: float, resampled: str) -> None:
        """Where the image lies on its slide, and through which light it was taken."""
        ds.ImagedVolumeWidth, ds.ImagedVolumeHeight, ds.ImagedVolumeDepth = self.width_mm, self.height_mm, 0.001
        origin = Dataset()
        origin.XOffsetInSlideCoordinateSystem, origin.YOffsetInSlideCoordinateSystem = "0", "0"
        ds.TotalPixelMatrixOriginSequence = Sequence([origin])
        ds.TotalPixelMatrixFocalPlanes, ds.NumberOfOpticalPaths = 1, 1
        ds.ImageOrientationSlide = [0, -1, 0, -1, 0, 0]
        path = Dataset()
        path.OpticalPathIdentifier, path.IlluminationTypeCodeSequence = (
            "1",
            Sequence([code("111744", "DCM", "Brightfield illumination")]),
        )
        path.IlluminationColorCodeSequence = Sequence([code("414298005", "SCT", "Full Spectrum")])
        path.ICCProfile = _srgb()
        ds.OpticalPathSequence = Sequence([path])
        organization = Dataset()
        organization.DimensionOrganizationUID = generate_uid()
        ds.DimensionOrganizationSequence = Sequence([organization])
        measures, kind = Dataset(), Dataset()
        measures.PixelSpacing, measures.SliceThickness = [mm_per_px] * 2, "0.001"
        measures.SpacingBetweenSlices = "0.001"
        kind.FrameType = list(ds.ImageType)
        shared, optical = Dataset(), Dataset()
        optical.OpticalPathIdentifier = "1"
        shared.PixelMeasuresSequence = Sequence([measures])
        shared.WholeSlideMicroscopyImageFrameTypeSequence = Sequence([kind])
        shared.OpticalPathIdentificationSequence = Sequence([optical])
        ds.SharedFunctionalGroupsSequence = Sequence([shared])


def code(value: str, scheme: str, meaning: str) -> Dataset:
    """A coded concept."""
    ds = Dataset()
    ds.CodeValue, ds.CodingSchemeDesignator, ds.CodeMeaning = value, scheme, meaning
    return ds


def _srgb() -> bytes:
    from PIL import ImageCms

    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
