"""Every error Leukoscope raises on purpose.

LeukoscopeError
├── InputError      a path, option or table the user gave is wrong
├── ImageError      one picture can't be read (the run goes on; the report lists it)
├── DataError       a data set, manifest or annotation file is wrong
├── TaxonomyError   a class name or source code that no table knows
├── ModelError      a bundle is missing, damaged, or does not fit
├── ConfigError     a training or study configuration is wrong
└── TrainingError   a training can't go on (its loss is no finite number any more)

Each message says what, what was expected, what was got, and what to do. The command line prints it on
one line and leaves with exit code 2.
"""


class LeukoscopeError(Exception):
    """The root: catch this to catch all of them."""


class InputError(LeukoscopeError):
    """A path, option or table the user gave is wrong."""


class ImageError(LeukoscopeError):
    """One picture can't be read.

    reason      a short, stable word for tables (for example "truncated")
    by_decoder  whether the message has the words of a decoder, which differ from run to run and are not for records
    """

    def __init__(self, reason: str, message: str, *, by_decoder: bool = False) -> None:
        super().__init__(message)
        self.reason, self.by_decoder = reason, by_decoder


class DataError(LeukoscopeError):
    """A data set, manifest or annotation file is wrong."""


class TaxonomyError(LeukoscopeError):
    """A class name or source code that no table knows."""


class ModelError(LeukoscopeError):
    """A bundle is missing, damaged, or does not fit."""


class ConfigError(LeukoscopeError):
    """A training or study configuration is wrong."""


class TrainingError(LeukoscopeError):
    """A training can't go on (its loss is no finite number any more)."""
