"""Ways to spoil the bytes of a file: cut, flipped, exchanged, renumbered, restructured."""

from __future__ import annotations

import json
import re

import numpy as np

NUMBER = re.compile(rb"-?\d+(?:\.\d+)?")


ODD_NUMBERS = (b"nan", b"inf", b"-1", b"0", b"1e999", b"99999999999999999999", b"-0.0", b"1_0", b"", b"x", b"1,5",
               b"9" * 5000, b"\xd9\xa3", b"0x1F", b"1e-400", b"true", b"null", b"[]")  # fmt: skip


def truncate(rng: np.random.Generator, data: bytes) -> bytes:
    return data[: rng.integers(0, len(data))]


def flip_bits(rng: np.random.Generator, data: bytes) -> bytes:
    changed = np.frombuffer(data, np.uint8).copy()
    at = rng.integers(0, len(changed), int(2 ** rng.uniform(0, 5)))
    np.bitwise_xor.at(changed, at, (1 << rng.integers(0, 8, len(at))).astype(np.uint8))
    return changed.tobytes()


def change_span(rng: np.random.Generator, data: bytes) -> bytes:
    """A span cut out, given twice, or replaced by random bytes."""
    start = int(rng.integers(0, len(data)))
    end = min(len(data), start + int(2 ** rng.uniform(0, 9)))
    span = (b"", data[start:end] * 2, rng.bytes(end - start), bytes(end - start))[rng.integers(4)]
    return data[:start] + span + data[end:]


def change_numbers(rng: np.random.Generator, data: bytes) -> bytes:
    found = list(NUMBER.finditer(data))
    for at in sorted(rng.integers(0, max(len(found), 1), int(rng.integers(1, 4))), reverse=True) if found else ():
        odd = ODD_NUMBERS[rng.integers(len(ODD_NUMBERS))]
        data = data[: found[at].start()] + odd + data[found[at].end() :]
    return data


def change_lines(rng: np.random.Generator, data: bytes) -> bytes:
    """Lines (or tags) shuffled, dropped or given twice."""
    parts = re.split(rb"(?<=\n)|(?<=>)", data)
    kind = rng.integers(3)
    if kind == 0:
        parts = [parts[i] for i in rng.permutation(len(parts))]
    at = int(rng.integers(0, len(parts)))
    if kind:
        parts[at : at + 1] = [parts[at]] * (2 if kind == 1 else 0)
    return b"".join(parts)


def change_words(rng: np.random.Generator, data: bytes) -> bytes:
    """A word (a key, a tag, a class, a file name) replaced, everywhere or once."""
    words = sorted({m.group() for m in re.finditer(rb"[A-Za-z_]{2,}", data)}) or [b"x"]
    other = (b"zzz", b"", rng.choice(words), b"..\\..\\a", b"C:\\set\\a", b"\xc3\xa9", b"\\ud800", b"&x;", b'"', b"<b>")
    word, new = words[rng.integers(len(words))], other[rng.integers(len(other))]
    return data.replace(word, new, -1 if rng.random() < 0.5 else 1)


def change_encoding(rng: np.random.Generator, data: bytes) -> bytes:
    text = data.decode()
    kinds = (
        lambda: b"\xef\xbb\xbf" + data,
        lambda: text.encode("utf-16"),
        lambda: text.encode("utf-16-le"),
        lambda: data.replace(b"\n", b"\r\n"),
        lambda: data.replace(b"\n", b"\r"),
        lambda: data + b"\x00" * 20,
        lambda: data.replace(b"lymphocyte", "lymphoc\u00efte".encode("latin-1")),
    )
    return kinds[rng.integers(len(kinds))]()


def other_content(rng: np.random.Generator, data: bytes) -> bytes:
    """Nothing, another format, nesting without end, an entity bomb."""
    bomb = b'<!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;">]><annotations>&y;</annotations>'
    nest = int(10 ** rng.uniform(2, 5))
    return (b"", b" \n", b"{}", b"[]", b"[{}]", b"null", b"[" * nest, b"[" * nest + b"]" * nest, b"<a>" * nest,
            bomb, b"<annotations/>", b"<annotation/>", b"0 0.5 0.5 0.1 0.1\n", b"names: [",
            rng.bytes(200))[rng.integers(15)]  # fmt: skip


def restructure(rng: np.random.Generator, data: bytes) -> bytes:
    """In JSON, one value anywhere replaced by one of another type; elsewhere a change of numbers."""
    try:
        value = json.loads(data)
    except ValueError:
        return change_numbers(rng, data)
    places: list[tuple] = []

    def walk(node: object) -> None:
        for key in node if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], (dict, list)):
                walk(node[key])

    walk(value)
    node, key = places[rng.integers(len(places))]
    if rng.random() < 0.25:
        del node[key]
    else:
        odd = (None, True, -1, 0, 1e308, "x", "", [], {}, [1, 2], {"a": 1}, [[]], 10**400, "7", [None] * 8)
        node[key] = odd[rng.integers(len(odd))]
    return json.dumps(value).encode()


MUTATIONS = (truncate, flip_bits, change_span, change_numbers, change_lines, change_words, change_encoding,
             other_content, restructure)  # fmt: skip
