"""Names that say nothing, in the place of patients, smears, centres, photographs and readers.

A pseudonym is a digest of the name with a secret key: whoever lacks the key can't find the name, nor test a guess. With
the key kept, a patient has the same pseudonym in all that leaves later; thrown away, nobody can tell who it was.
"""

import base64
import hashlib
import hmac
import json
import os
import secrets
from pathlib import Path

from leukoscope.errors import UNREADABLE, DataError, InputError, in_short
from leukoscope.files import write_whole

KEY_VERSION = 1
_LETTERS = 12  # of a pseudonym, five bits each: among a million names two are the same once in two million


class Pseudonyms:
    """Gives each name of a kind its pseudonym, and remembers which were given."""

    def __init__(self, secret: bytes | None = None, names: dict[str, dict[str, str]] | None = None) -> None:
        self._secret = secrets.token_bytes(32) if secret is None else secret
        self._names = names or {}

    def of(self, kind: str, name: str) -> str:
        """The pseudonym, such as `patient-k3m7xq2dpl5a`; "" for no name.

        kind  patient, smear, center, photograph, field, reader, run or set: the same name is another thing in each
        """
        if not name:
            return ""
        known = self._names.setdefault(kind, {})
        if name not in known:
            digest = hmac.digest(self._secret, f"{kind}\0{name}".encode("utf-8", "surrogatepass"), hashlib.sha256)
            known[name] = f"{kind}-{base64.b32encode(digest).decode().lower()[:_LETTERS]}"
        return known[name]

    def save(self, path: str | Path) -> None:
        """Write the key and the list of who is who, readable by its owner alone."""
        content = {"leukoscope_key": KEY_VERSION, "secret": self._secret.hex(), "names": self._names}
        with write_whole(path, encoding="ascii", opener=_private) as file:
            json.dump(content, file, indent=1)
            file.write("\n")


def open_key(path: str | Path | None, *, out: str | Path) -> Pseudonyms:
    """The pseudonyms of a key file, new ones where it is not there yet; None: of a key that nobody keeps.

    out  where what is de-identified goes: InputError where the key would lie in it. DataError for what is no key.
    """
    if path is None:
        return Pseudonyms()
    path = Path(path)
    if Path(out).resolve() in (path.resolve(), *path.resolve().parents):
        raise InputError(f"the key {path} lies in {out}, which is to be handed on: keep it elsewhere")
    if not path.exists():
        if not path.parent.is_dir():
            raise InputError(f"no folder {path.parent} for the key: make it, or name another place with --key")
        return Pseudonyms()
    try:
        content = json.loads(path.read_text("ascii"))
        if content["leukoscope_key"] != KEY_VERSION:
            raise ValueError(f"version {content['leukoscope_key']!r}")
        names = {kind: dict(known) for kind, known in content["names"].items()}
        return Pseudonyms(bytes.fromhex(content["secret"]), names)
    except (OSError, *UNREADABLE) as error:
        raise DataError(f"{path} is no key file ({in_short(error)}): name one that --key wrote, or a new one") from None


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
