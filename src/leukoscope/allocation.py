"""When memory that was freed goes back to the system: the settings of Pillow and of the C library, in one place.

Giving back is right where large photographs pass by once. Where the same work is done again at every step it is not:
each step's arrays are asked for anew, and every page of them is a fault, which costs as much as much of the work.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

_MMAP_MAX, _MMAP_THRESHOLD, _TOP_PAD, _TRIM_THRESHOLD = -4, -3, -2, -1  # names of `mallopt`'s settings in malloc.h
_KEEP = {_MMAP_MAX: 0, _TRIM_THRESHOLD: -1, _TOP_PAD: 1_000_000_000}  # no block of its own, never given back, by 1 GB
# glibc's own, its thresholds as they are once it has seen blocks of 32 MB: it moves them no more when they were set.
_USUAL = {_MMAP_MAX: 65536, _MMAP_THRESHOLD: 1 << 25, _TRIM_THRESHOLD: 1 << 26, _TOP_PAD: 1 << 17}


def give_back_pictures() -> None:
    """Pillow keeps large pictures in blocks that go back to the system when they are freed.

    Of its own 16 MB ones a thread's heap keeps what was freed: eight workers that decode 169 megapixels in turn held
    them eight times.
    """
    from PIL import Image

    Image.core.set_block_size(1 << 26)


def give_memory_back() -> None:
    """What was freed goes back to the system now, which glibc would else keep for later; nothing elsewhere."""
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)


@contextmanager
def freed_memory_kept() -> Iterator[bool]:
    """What is freed stays with this process, ready for the next step; at the end all goes back. Gives whether it does.

    Nothing happens where the C library is not glibc (macOS, Windows, Alpine). The process is as large as it was at its
    largest until the end.
    """
    library = _glibc()
    if library is None:
        yield False
        return
    for setting, value in _KEEP.items():
        library.mallopt(setting, value)
    try:
        yield True
    finally:
        for setting, value in _USUAL.items():
            library.mallopt(setting, value)
        give_memory_back()


def _glibc() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL(None)
        return library if hasattr(library, "gnu_get_libc_version") else None
    except (OSError, TypeError):  # Windows has no library of all names
        return None
