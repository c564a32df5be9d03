"""The format of record files a second time, written from its description alone, to check record_filter against.

Reads and writes the snappy framing format (writing uncompressed chunks only), the snappy block format (reading only),
records with their length, and the protobuf message Record.
"""

import struct
from pathlib import Path

IDENTIFIER = b"\xff\x06\x00\x00sNaPpY"
MAX_CHUNK = 65536


def _crc_table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


_CRC_TABLE = _crc_table()


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def masked(crc):
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def fnv1a(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value


def read_varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def uncompress(block):
    """One snappy block: literals and copies of what came before."""
    size, at = read_varint(block, 0)
    out = bytearray()
    while at < len(block):
        tag = block[at]
        at += 1
        if tag & 3 == 0:
            length = tag >> 2
            if length >= 60:
                extra = length - 59
                length = int.from_bytes(block[at : at + extra], "little")
                at += extra
            length += 1
            out += block[at : at + length]
            at += length
            continue
        if tag & 3 == 1:
            length, offset = (tag >> 2 & 7) + 4, (tag >> 5) << 8 | block[at]
            at += 1
        else:
            width = 2 if tag & 3 == 2 else 4
            length, offset = (tag >> 2) + 1, int.from_bytes(block[at : at + width], "little")
            at += width
        for _ in range(length):
            out.append(out[-offset])
    assert len(out) == size, "the block does not have the size it states"
    return bytes(out)


def chunk(kind, data):
    return bytes([kind]) + len(data).to_bytes(3, "little") + data


def data_chunk(data):
    return chunk(0x01, struct.pack("<I", masked(crc32c(data))) + data)


def frame(data):
    """A whole stream, uncompressed."""
    return IDENTIFIER + b"".join(data_chunk(data[i : i + MAX_CHUNK]) for i in range(0, len(data), MAX_CHUNK))


def unframe(stream):
    assert stream.startswith(IDENTIFIER)
    out, at = b"", 0
    while at < len(stream):
        kind, length = stream[at], int.from_bytes(stream[at + 1 : at + 4], "little")
        data = stream[at + 4 : at + 4 + length]
        assert len(data) == length, "a chunk is cut off"
        at += 4 + length
        if kind in (0x00, 0x01):
            body = data[4:] if kind else uncompress(data[4:])
            assert len(body) <= MAX_CHUNK
            assert struct.unpack("<I", data[:4])[0] == masked(crc32c(body)), "a checksum does not match"
            out += body
        else:
            assert kind >= 0x80, f"unknown chunk type {kind}"
    return out


def pack(messages):
    """Messages with their lengths."""
    return b"".join(struct.pack("<Q", len(m)) + m for m in messages)


def unpack(data):
    messages, at = [], 0
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        at += 8 + length
        assert at <= len(data), "a record is cut off"
        messages.append(data[at - length : at])
    return messages


def read_messages(path):
    return unpack(unframe(Path(path).read_bytes()))


def message(group_id, path=b"a/file", size=1, modified_ns=2, digest=3):
    """A Record, serialized."""
    return (
        b"\x09" + struct.pack("<Q", group_id)
        + b"\x12" + varint(len(path)) + path
        + b"\x18" + varint(size)
        + b"\x20" + varint(modified_ns)
        + b"\x29" + struct.pack("<Q", digest)
    )


def parse(data):
    """The fields of a serialized message by number; numbers for the numeric ones."""
    fields, at = {}, 0
    while at < len(data):
        key, at = read_varint(data, at)
        if key & 7 == 0:
            value, at = read_varint(data, at)
        elif key & 7 == 1:
            (value,) = struct.unpack_from("<Q", data, at)
            at += 8
        else:
            assert key & 7 == 2, f"wire type {key & 7}"
            length, at = read_varint(data, at)
            value, at = data[at : at + length], at + length
        fields[key >> 3] = value
    return fields
