"""Frames of a serial line: readings out, acknowledgements back.

    line  = * (COBS(frame) 00)
    frame = kind u8 | seq u16 | payload | crc u16      little endian; CRC-16/X-25 over all before it

COBS (Cheshire and Baker, 1999) keeps 00 for the end of a frame. Held against tests/vectors/frames.txt, as every
implementation is.
"""

import struct

DATA = 1
ACK = 2
HELLO = 3


def crc(data):
    value = 0xFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ 0x8408 if value & 1 else value >> 1
    return value ^ 0xFFFF


def encode(kind, seq, payload=b""):
    """The bytes of a frame, its end included."""
    frame = struct.pack("<BH", kind, seq) + payload
    return _stuff(frame + struct.pack("<H", crc(frame))) + b"\0"


def decode(stuffed):
    """Kind, seq and payload of what lay between two ends; None where it is no frame."""
    frame = _unstuff(stuffed)
    if frame is None or len(frame) < 5 or frame[0] not in (DATA, ACK, HELLO):
        return None
    (told,) = struct.unpack("<H", frame[-2:])
    if crc(frame[:-2]) != told:
        return None
    kind, seq = struct.unpack("<BH", frame)
    return kind, seq, frame[3:-2]


def _stuff(data):
    out = bytearray()
    pieces = data.split(b"\0")
    for at, piece in enumerate(pieces):
        while len(piece) > 254 or (len(piece) == 254 and at + 1 < len(pieces)):
            out += b"\xff" + piece[:254]
            piece = piece[254:]
        out.append(len(piece) + 1)
        out += piece
    return bytes(out)


def _unstuff(data):
    out = bytearray()
    at = 0
    while at < len(data):
        code = data[at]
        if code == 0 or at + code > len(data):
            return None
        out += data[at + 1 : at + code]
        at += code
        if code < 255 and at < len(data):
            out.append(0)
    return bytes(out)


class Deframer:
    """Gathers the bytes of one frame at a time, at most `room` of them."""

    def __init__(self, room=64):
        self._room = room
        self._bytes = bytearray()
        self._too_long = False

    def take(self, byte):
        """Takes a byte; the frame that it ended, or None."""
        if byte:
            if len(self._bytes) < self._room:
                self._bytes.append(byte)
            else:
                self._too_long = True
            return None
        stuffed, too_long = bytes(self._bytes), self._too_long
        self._bytes, self._too_long = bytearray(), False
        return None if too_long or not stuffed else decode(stuffed)
