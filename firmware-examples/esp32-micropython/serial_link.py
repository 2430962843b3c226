"""Readings to a gateway by wire, in frames: HELLO first, then each reading until it is acknowledged."""

import asyncio
import struct
import time

import frames

RESEND_MS = 1000
RESEND_MAX_MS = 8000
# The gateway recognises a repeat among the last 64 frames.
WINDOW = 32


class SerialLink:
    def __init__(self, line, device, nonce, outbox, resend_ms=RESEND_MS):
        self._line = line
        self._hello = struct.pack("<I", nonce) + device.encode()
        self._first = nonce & 0xFFFF
        self._next = (nonce + 1) & 0xFFFF
        self._outbox = outbox
        self._resend_ms = self._wait_ms = resend_ms
        self._deframer = frames.Deframer()
        self._known = False
        self._hello_ms = None

    async def run(self):
        while True:
            now = time.ticks_ms()
            self._receive()
            if self._known:
                self._send_due(now)
            elif self._hello_ms is None or time.ticks_diff(now, self._hello_ms) >= self._resend_ms:
                self._send(frames.HELLO, self._first, self._hello)
                self._hello_ms = now
            await asyncio.sleep_ms(2)

    def _receive(self):
        for byte in self._line.read():
            frame = self._deframer.take(byte)
            if frame is None or frame[0] != frames.ACK:
                continue
            # Until the HELLO is acknowledged, an ACK may be meant for a frame from before the reset.
            if not self._known:
                self._known = self._hello_ms is not None and frame[1] == self._first
            elif self._outbox.acknowledge(frame[1]):
                self._wait_ms = self._resend_ms

    def _send_due(self, now):
        held = self._outbox.due(now, self._wait_ms, WINDOW)
        if held is None:
            return
        if held.key is None:
            held.key = self._next
            self._next = (self._next + 1) & 0xFFFF
        elif held is self._outbox.oldest():
            # While nobody answers, the wait doubles.
            self._wait_ms = min(2 * self._wait_ms, max(RESEND_MAX_MS, self._resend_ms))
        held.sent_ms = now
        self._send(frames.DATA, held.key, held.payload)

    def _send(self, kind, seq, payload):
        # An end goes first as well: what noise or a reset left on the line then costs no frame.
        self._line.write(b"\0" + frames.encode(kind, seq, payload))
