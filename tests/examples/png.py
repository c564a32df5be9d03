"""PNG files without libpng: reads those with eight bits for each sample that are not interlaced, in color or with a
palette; writes any kind.
"""

import struct
import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GRAY, RGB, PALETTE, GRAY_ALPHA, RGBA = 0, 2, 3, 4, 6  # color types
CHANNELS = {RGB: 3, PALETTE: 1, RGBA: 4}  # color type -> samples for each pixel
WHOLE = [(0, 0, 1, 1)]  # first column and row of a pass, and the steps from one to the next
ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def chunks(data):
    """(kind, content) of each chunk, with its checksum checked."""
    if data[:8] != SIGNATURE:
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


def decode(data):
    """The rows of a picture: lists of (red, green, blue) or (red, green, blue, alpha)."""
    found = {}
    for kind, content in chunks(data):
        found[kind] = found.get(kind, b"") + content
    width, height, depth, color, _, _, interlaced = struct.unpack(">IIBBBBB", found[b"IHDR"])
    if depth != 8 or color not in CHANNELS or interlaced or b"IEND" not in found:
        raise ValueError("not that kind of PNG file")
    step = CHANNELS[color]
    rows = unfiltered(zlib.decompress(found[b"IDAT"]), width * step, step)
    if len(rows) != height:
        raise ValueError(f"{len(rows)} rows instead of {height}")
    if color == PALETTE:
        palette = [tuple(found[b"PLTE"][i : i + 3]) for i in range(0, len(found[b"PLTE"]), 3)]
        return [[palette[index] for index in row] for row in rows]
    return [list(zip(*[iter(row)] * step, strict=True)) for row in rows]


def read(path):
    return decode(path.read_bytes())


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def header(width, height, depth=8, color=RGBA, interlaced=False):
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlaced))


def packed(values, depth):
    """Samples of a row as bytes."""
    bits = "".join(format(value, f"0{depth}b") for value in values)
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))


def encode(rows, color=RGBA, depth=8, interlaced=False, more=b""):
    """A PNG file. `rows` hold pixels, which are tuples of as many samples as the color type has; `more` are chunks."""
    data = b""
    for x, y, step_x, step_y in ADAM7 if interlaced else WHOLE:
        for row in rows[y::step_y]:
            values = [value for pixel in row[x::step_x] for value in pixel]
            if values:
                data += b"\0" + packed(values, depth)
    first = header(len(rows[0]), len(rows), depth, color, interlaced)
    return SIGNATURE + first + more + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
