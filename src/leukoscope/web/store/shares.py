"""Whether a file lies on a network share, where SQLite's locks and shared memory can't be relied on."""

import os
import subprocess
import sys
from pathlib import Path

NETWORK = frozenset(
    "nfs nfs3 nfs4 cifs smb smb2 smb3 smbfs afpfs afs ncpfs 9p ceph glusterfs lustre gpfs beegfs webdav davfs vboxsf"
    " vmhgfs virtiofs drvfs ocfs2 gfs2 fuse.sshfs fuse.glusterfs fuse.ceph fuse.s3fs fuse.rclone fuse.davfs2"
    " fuse.gvfsd-fuse fuse.vmhgfs-fuse".split()
)


def network_file_system(path: Path) -> str | None:
    """Name of the network file system that holds `path`, or None on a local disk or where it can't be told."""
    path = Path(os.path.realpath(path))
    if sys.platform == "win32":
        return _windows(path)
    mounts = _mounts()
    best, kind = "", None
    for point, name in mounts:
        inside = path == Path(point) or Path(point) in path.parents
        if inside and len(point) >= len(best):
            best, kind = point, name
    return kind if kind in NETWORK else None


def _mounts() -> list[tuple[str, str]]:
    """(mount point, file system) of every mount; later ones cover earlier ones."""
    table = Path("/proc/self/mounts")
    if table.is_file():
        rows = [line.split(" ") for line in table.read_text("utf-8", "surrogateescape").splitlines()]
        return [(_plain(row[1]), row[2]) for row in rows if len(row) > 2]
    try:  # macOS: "//server/share on /Volumes/share (smbfs, nodev, ...)"
        text = subprocess.run(["/sbin/mount"], capture_output=True, text=True, timeout=5, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    mounts = []
    for line in text.splitlines():
        _, _, rest = line.partition(" on ")
        point, _, options = rest.rpartition(" (")
        mounts.append((point, options.rstrip(")").split(",")[0]))
    return mounts


def _plain(point: str) -> str:
    """/proc writes a space of a mount point as \\040."""
    for code, letter in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        point = point.replace(code, letter)
    return point


def _windows(path: Path) -> str | None:
    if str(path).startswith("\\\\"):
        return "a UNC path"
    import ctypes

    remote = 4  # DRIVE_REMOTE
    return "a mapped drive" if ctypes.windll.kernel32.GetDriveTypeW(path.anchor) == remote else None
