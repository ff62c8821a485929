"""What an image file consists of, read without decoding it: JPEG markers, PNG chunks, pages, kinds.

The decoder's library accepts or refuses a file as a whole. These few functions tell the parts
apart that decide about pixels from those that do not (profiles, texts, end markers), and find scan
data that is missing, which the library replaces by grey in silence.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha512

MAX_SCANS = 500
"""Most scans of a progressive JPEG that are decoded; encoders write 6 to 12, each costs a pass
over all coefficients."""
MAX_PAGES = 1000
"""Pages or frames are counted up to here."""

END_OF_IMAGE = b"\xff\xd9"
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_KEPT = (b"tRNS", b"eXIf", b"acTL", b"fcTL", b"fdAT")
"""Chunks beside the critical ones that change pixels: transparency, orientation, animation."""
_BASELINE, _PROGRESSIVE = (0xC0, 0xC1, 0xC9), (0xC2, 0xCA)

_KINDS: tuple[tuple[str, re.Pattern[bytes], str, bool], ...] = (
    (
        "HEIC",
        re.compile(rb"(?s)....ftyp(?:hei[cmsx]|hev[cmsx]|mif1|msf1)"),
        "its codec, HEVC, is not read here: convert it to PNG or JPEG first, for example with"
        " 'heif-convert FILE.heic FILE.png' (package libheif-examples), or export it as such",
        True,
    ),
    (
        "JPEG XL",
        re.compile(rb"\xff\x0a|\x00\x00\x00\x0cJXL "),
        "it is not read here: convert it first, for example with 'djxl FILE.jxl FILE.png'",
        True,
    ),
    (
        "a video (MP4 or QuickTime)",
        re.compile(rb"(?s)....ftyp(?!avi[fs])"),
        "extract its frames first",
        False,
    ),
    ("SVG", re.compile(rb"(?s)\s*(?:<\?xml.{0,600})?<svg"), "draw it as a PNG first", False),
    (
        "an HTML page",
        re.compile(rb"(?i)\s*(?:<!doctype html|<html)"),
        "download the image anew",
        False,
    ),
    (
        "an archive",
        re.compile(rb"PK\x03\x04|\x1f\x8b|BZh|\xfd7zXZ|Rar!|7z\xbc\xaf"),
        "unpack it: archives inside archives, and compressed ones, are not opened",
        False,
    ),
    ("PDF", re.compile(rb"%PDF"), "export its pages as images first", False),
    ("Photoshop", re.compile(rb"8BPS"), "export it as PNG first", False),
    (
        "a Git LFS pointer",
        re.compile(rb"version https://git-lfs"),
        "the image itself was not fetched: run 'git lfs pull' in its repository",
        False,
    ),
)


def kind_not_read(content: bytes) -> tuple[str, str, bool] | None:
    """What a file of a kind that is not read here is, what to do about it, and whether it is a
    picture all the same; None if unknown.
    """
    head = content[:1024]
    return next(((kind, do, image) for kind, magic, do, image in _KINDS if magic.match(head)), None)


@dataclass(frozen=True)
class JpegStructure:
    """The markers of a JPEG up to the end of its (first) picture.

    Attributes:
        scans: number of scans.
        end: where the scan data ends: the end marker's place, or the length of the file.
        ended: the end marker is there.
        restarts_missing: restart intervals that the header promises and the only scan lacks.
        coefficients_missing: components, of a file with several scans, some coefficients of which
            no scan brings to full precision.
    """

    scans: int
    end: int
    ended: bool
    restarts_missing: int
    coefficients_missing: int


def jpeg_structure(content: bytes) -> JpegStructure | None:
    """Markers of a JPEG; None where it is none, or none whose markers can be followed to a scan."""
    at = 2
    interval = 0
    frame = b""
    scans = 0
    kind = 0
    heads: list[bytes] = []  # of the scans
    restarts = 0
    if not content.startswith(b"\xff\xd8"):
        return None
    while at + 2 <= len(content):
        if content[at] != 0xFF:
            at = content.find(b"\xff", at)  # decoders pass over what stands between markers
            if at < 0:
                break
            continue
        marker = content[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker == 0xD9:
            return _structure(
                content,
                at,
                ended=True,
                scans=scans,
                restarts=restarts,
                interval=interval,
                frame=frame,
                kind=kind,
                heads=heads,
            )
        if marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD8:
            at += 2
            continue
        if at + 4 > len(content):
            break
        length = struct.unpack_from(">H", content, at + 2)[0]
        body = content[at + 4 : at + 2 + length]
        at += 2 + max(2, length)
        if marker == 0xDD and len(body) >= 2:
            interval = struct.unpack_from(">H", body)[0]
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            frame, kind = body, marker
        elif marker == 0xDA:
            scans += 1
            if scans > MAX_SCANS:
                break
            heads.append(body)
            at, restarts_of_scan = _end_of_scan(content, at)
            restarts = restarts_of_scan if scans == 1 else restarts
    if not scans:
        return None
    return _structure(
        content,
        len(content),
        ended=False,
        scans=scans,
        restarts=restarts,
        interval=interval,
        frame=frame,
        kind=kind,
        heads=heads,
    )


_MARKER = re.compile(rb"\xff([^\x00\xff])")
"""A literal first byte, which is searched for several times as fast as a repeated one."""


def _end_of_scan(content: bytes, at: int) -> tuple[int, int]:
    """Where the next marker that is no restart begins, and the number of restarts before it."""
    restarts = 0
    for marker in _MARKER.finditer(content, at):
        if 0xD0 <= marker[1][0] <= 0xD7:
            restarts += 1
            continue
        return marker.end() - 2, restarts
    return len(content), restarts


def _precision(heads: Iterable[bytes]) -> dict[tuple[int, int], int]:
    """Lowest bit that scans bring of each component's coefficients."""
    precision: dict[tuple[int, int], int] = {}
    for head in heads:
        count = head[0] if head else 0
        if len(head) < 1 + 2 * count + 3:
            continue
        first, last, bits = head[1 + 2 * count : 4 + 2 * count]
        for component in (head[1 + 2 * i] for i in range(count)):
            for coefficient in range(first, min(last, 63) + 1):
                precision[component, coefficient] = bits & 15
    return precision


def _structure(
    content: bytes,
    end: int,
    *,
    ended: bool,
    scans: int,
    restarts: int,
    interval: int,
    frame: bytes,
    kind: int,
    heads: Sequence[bytes],
) -> JpegStructure | None:
    if not scans:
        return None
    missing = restarts_missing = 0
    if len(frame) >= 6 and len(frame) >= 6 + 3 * frame[5]:
        _, height, width, count = struct.unpack_from(">BHHB", frame)
        parts = [frame[6 + 3 * i : 9 + 3 * i] for i in range(count)]
        if scans > 1 or kind in _PROGRESSIVE:
            precision = _precision(heads)
            missing = sum(any(precision.get((part[0], k), 1) for k in range(64)) for part in parts)
        if interval and scans == 1 and kind in _BASELINE:
            across = max((part[1] >> 4 for part in parts), default=1) if count > 1 else 1
            down = max((part[1] & 15 for part in parts), default=1) if count > 1 else 1
            units = -(-width // (8 * max(across, 1))) * -(-height // (8 * max(down, 1)))
            restarts_missing = max(0, -(-units // interval) - 1 - restarts)
    return JpegStructure(scans, end, ended, restarts_missing, missing)


def jpeg_with_more_data(content: bytes, structure: JpegStructure) -> bytes:
    """The same JPEG with bytes that mean nothing after its last scan.

    A decoder that has all its data never reads them; one that lacks some makes another picture.
    """
    filler = b"".join(sha512(bytes([i])).digest() for i in range(16)).replace(b"\xff", b"\x5a")
    # the zero byte: after a last byte of 255 it would otherwise form a marker
    return content[: structure.end] + b"\0" + filler + END_OF_IMAGE


def without_metadata(content: bytes) -> bytes | None:
    """A PNG, JPEG or WebP file without profiles, texts and comments; None where there is nothing
    to take away.

    What changes pixels stays: transparency, orientation (EXIF), a JPEG's colour transform.
    """
    kept = None
    if content.startswith(_PNG):
        kept = _PNG + b"".join(_png_chunks(content))
    elif content.startswith(b"\xff\xd8"):
        kept = _jpeg_without_metadata(content)
    return kept if kept is not None and len(kept) < len(content) else None


def _png_chunks(content: bytes) -> Iterator[bytes]:
    at = len(_PNG)
    while at + 8 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, at)
        chunk = content[at : at + 12 + length]
        at += 12 + length
        critical = bool(kind) and not kind[0] & 32
        sound = (
            len(chunk) == 12 + length
            and zlib.crc32(chunk[4:-4]) == struct.unpack(">I", chunk[-4:])[0]
        )
        if critical or (kind in _PNG_KEPT and sound):
            yield chunk


def _jpeg_without_metadata(content: bytes) -> bytes:
    parts, at = [b"\xff\xd8"], 2
    while at + 4 <= len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker in (0xDA, 0xD9):
            break
        length = max(2, struct.unpack_from(">H", content, at + 2)[0])
        segment = content[at : at + 2 + length]
        body = segment[4:]
        metadata = 0xE0 <= marker <= 0xEF or marker == 0xFE
        needed = (
            (marker == 0xE0 and body.startswith(b"JFIF\0"))
            or (marker == 0xEE and body.startswith(b"Adobe") and len(body) >= 12)
            or (marker == 0xE1 and body.startswith(b"Exif\0\0"))
        )
        if not metadata or needed:
            parts.append(segment)
        at += 2 + length
    return b"".join(parts) + content[at:]


def png_bytes_missing(content: bytes) -> int:
    """Bytes of rows that a PNG's header promises and its compressed stream does not hold."""
    header = content[16:29]
    stream = zlib.decompressobj()
    at = len(_PNG)
    if len(header) < 13:
        return 0
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    bits = depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(colour, 1)
    passes = [(width, height)]
    if interlaced:  # Adam7: first column and row, then steps, of each pass
        grid: tuple[tuple[int, int, int, int], ...] = (
            (0, 0, 8, 8),
            (4, 0, 8, 8),
            (0, 4, 4, 8),
            (2, 0, 4, 4),
            (0, 2, 2, 4),
        )
        grid += ((1, 0, 2, 2), (0, 1, 1, 2))
        passes = [
            (max(0, -(-(width - x) // dx)), max(0, -(-(height - y) // dy))) for x, y, dx, dy in grid
        ]
    missing = sum(rows * (1 + -(-columns * bits // 8)) for columns, rows in passes if columns)
    while at + 8 <= len(content) and missing > 0:
        length, kind = struct.unpack_from(">I4s", content, at)
        if kind == b"IDAT":
            piece = content[at + 8 : at + 8 + length]
            while piece and missing > 0:
                try:
                    missing -= len(stream.decompress(piece, 2**20))
                except zlib.error:
                    return 0  # the decoder says so
                piece = stream.unconsumed_tail
        at += 12 + length
    return int(max(0, missing))


def tiff_pages(content: bytes) -> int:
    """Pages of a TIFF, counted along its chain of directories up to :data:`MAX_PAGES` + 1."""
    order = "<" if content.startswith(b"II") else ">"
    try:
        (at,) = struct.unpack_from(f"{order}I", content, 4)
        pages = 0
        seen = set()
        while at and at not in seen and pages <= MAX_PAGES:
            seen.add(at)
            (entries,) = struct.unpack_from(f"{order}H", content, at)
            (at,) = struct.unpack_from(f"{order}I", content, at + 2 + 12 * entries)
            pages += 1
    except struct.error:
        pages = max(1, pages)
    return pages


def gif_frames(content: bytes) -> int:
    """Frames of a GIF, counted up to :data:`MAX_PAGES` + 1 without decoding them."""

    def past_blocks(at: int) -> int:
        while content[at]:
            at += 1 + content[at]
        return at + 1

    def table(flags: int) -> int:
        return 3 << ((flags & 7) + 1) if flags & 128 else 0

    frames = 0
    try:
        at = 13 + table(content[10])
        while frames <= MAX_PAGES:
            if content[at] == 0x21:
                at = past_blocks(at + 2)
            elif content[at] == 0x2C:
                frames += 1
                at = past_blocks(at + 11 + table(content[at + 9]))
            else:
                break
    except IndexError:
        pass
    return frames
