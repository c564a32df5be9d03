"""Reads PNG files: those with eight bits for each sample that are not interlaced, in color or with a palette."""

import struct
import zlib

CHANNELS = {2: 3, 3: 1}  # color type -> samples for each pixel


def chunks(data):
    """(kind, content) of each chunk, with its checksum checked."""
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        raise ValueError("no PNG file")
    at = 8
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind, content = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        (checksum,) = struct.unpack_from(">I", data, at + 8 + length)
        if checksum != zlib.crc32(kind + content):
            raise ValueError(f"chunk {kind} is damaged")
        yield kind, content
        at += 12 + length


def paeth(left, up, up_left):
    guess = left + up - up_left
    return min((abs(guess - left), 0, left), (abs(guess - up), 1, up), (abs(guess - up_left), 2, up_left))[2]


def unfiltered(data, length, step):
    """The rows of bytes behind the filters; a pixel is `step` bytes long."""
    rows = []
    up = bytes(length)
    for start in range(0, len(data), length + 1):
        kind, row = data[start], bytearray(data[start + 1 : start + 1 + length])
        if kind == 1:
            for i in range(step, length):
                row[i] = row[i] + row[i - step] & 255
        elif kind == 2:
            row = bytearray(a + b & 255 for a, b in zip(row, up, strict=True))
        elif kind == 3:
            for i in range(length):
                row[i] = row[i] + (up[i] + (row[i - step] if i >= step else 0)) // 2 & 255
        elif kind == 4:
            for i in range(length):
                left, up_left = (row[i - step], up[i - step]) if i >= step else (0, 0)
                row[i] = row[i] + paeth(left, up[i], up_left) & 255
        elif kind != 0:
            raise ValueError(f"no filter {kind}")
        up = bytes(row)
        rows.append(up)
    return rows


def read(path):
    """The rows of a picture: lists of (red, green, blue)."""
    found = {}
    for kind, content in chunks(path.read_bytes()):
        found[kind] = found.get(kind, b"") + content
    width, height, depth, color, _, _, interlaced = struct.unpack(">IIBBBBB", found[b"IHDR"])
    if depth != 8 or color not in CHANNELS or interlaced or b"IEND" not in found:
        raise ValueError(f"{path}: not that kind of PNG file")
    step = CHANNELS[color]
    rows = unfiltered(zlib.decompress(found[b"IDAT"]), width * step, step)
    if len(rows) != height:
        raise ValueError(f"{path}: {len(rows)} rows instead of {height}")
    if color == 3:
        palette = [tuple(found[b"PLTE"][i : i + 3]) for i in range(0, len(found[b"PLTE"]), 3)]
        return [[palette[index] for index in row] for row in rows]
    return [list(zip(row[::3], row[1::3], row[2::3], strict=True)) for row in rows]
