"""Readings to a broker by MQTT 3.1.1 (OASIS, 2014), QoS 1: each is kept until its PUBACK.

A reading without a PUBACK goes again, with DUP, once there is another connection: on the same one the standard forbids
it. A PUBACK that does not come within `ACK_MS` ends the connection. The session is kept by the broker (no clean session),
so packet identifiers mean the same before and after.
"""

import asyncio
import struct
import time

CONNECT_S = 10
ACK_MS = 10000
KEEP_ALIVE_S = 30
WINDOW = 16
RETRY_MS = 500
RETRY_MAX_MS = 30000

CONNACK, PUBACK, PINGRESP = 2, 4, 13


class MqttError(Exception):
    pass


def _text(text):
    data = text if isinstance(text, bytes) else text.encode()
    return struct.pack(">H", len(data)) + data


def packet(head, body=b""):
    """A packet: its first byte, the length in groups of seven bits, and the rest."""
    out, length = bytearray([head]), len(body)
    while True:
        length, low = length >> 7, length & 0x7F
        out.append(low | 0x80 if length else low)
        if not length:
            return bytes(out) + body


def connect_packet(client, user=None, password=None):
    flags = 0
    rest = _text(client)
    if user is not None:
        flags |= 0x80
        rest += _text(user)
    if password is not None:
        flags |= 0x40
        rest += _text(password)
    return packet(0x10, _text("MQTT") + bytes([4, flags]) + struct.pack(">H", KEEP_ALIVE_S) + rest)


def publish_packet(topic, identifier, payload, again):
    return packet(0x3A if again else 0x32, _text(topic) + struct.pack(">H", identifier) + payload)


async def read_packet(reader):
    """The kind of the next packet, and its body."""
    (head,) = await reader.readexactly(1)
    length = shift = 0
    while True:
        (byte,) = await reader.readexactly(1)
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
        if shift > 21:
            raise MqttError("a length of more than four bytes")
    return head >> 4, await reader.readexactly(length) if length else b""


class MqttLink:
    """`connect` is awaited for a (reader, writer), with TLS or without."""

    def __init__(self, connect, device, topic, outbox, user=None, password=None):
        self._connect = connect
        self._hello = connect_packet(device, user, password)
        self._topic = topic
        self._outbox = outbox
        self._next = 1
        self._retry_ms = RETRY_MS

    async def run(self):
        while True:
            try:
                await self._session()
            # A certificate that does not hold is a ValueError.
            except (OSError, EOFError, ValueError, MqttError, asyncio.TimeoutError) as error:
                print("no connection:", repr(error))
            await asyncio.sleep_ms(self._retry_ms)
            self._retry_ms = min(2 * self._retry_ms, RETRY_MAX_MS)

    async def _session(self):
        reader, writer = await asyncio.wait_for(self._connect(), CONNECT_S)
        receiver = None
        try:
            writer.write(self._hello)
            await writer.drain()
            kind, body = await asyncio.wait_for(read_packet(reader), CONNECT_S)
            if kind != CONNACK or len(body) != 2:
                raise MqttError("that is no broker")
            if body[1]:
                raise MqttError("the broker refuses with code %d" % body[1])
            self._retry_ms = RETRY_MS
            self._outbox.again()
            receiver = asyncio.create_task(self._receive(reader))
            await self._send(writer, receiver)
        finally:
            if receiver:
                receiver.cancel()
            writer.close()
            await writer.wait_closed()

    async def _receive(self, reader):
        try:
            while True:
                kind, body = await read_packet(reader)
                self._heard_ms = time.ticks_ms()
                if kind == PUBACK:
                    self._outbox.acknowledge(struct.unpack(">H", body)[0])
                elif kind != PINGRESP:
                    raise MqttError("a packet of kind %d" % kind)
        except (OSError, EOFError, MqttError) as error:
            # Told by whoever sends.
            self._broken = error

    async def _send(self, writer, receiver):
        self._broken = None
        self._heard_ms = said_ms = time.ticks_ms()
        while self._broken is None:
            now = time.ticks_ms()
            held = self._outbox.due(now, None, WINDOW)
            oldest = self._outbox.oldest()
            if held:
                again = held.key is not None
                if not again:
                    held.key = self._next
                    self._next = self._next % 0xFFFF + 1
                held.sent_ms = said_ms = now
                writer.write(publish_packet(self._topic, held.key, held.payload, again))
            elif oldest and time.ticks_diff(now, oldest.sent_ms) > ACK_MS:
                raise MqttError("no PUBACK for %d ms" % ACK_MS)
            elif time.ticks_diff(now, said_ms) > KEEP_ALIVE_S * 500:
                said_ms = now
                writer.write(packet(0xC0))
            elif time.ticks_diff(now, self._heard_ms) > KEEP_ALIVE_S * 1500:
                raise MqttError("the broker is silent")
            await asyncio.wait_for(writer.drain(), CONNECT_S)
            await asyncio.sleep_ms(0 if held else 5)
        raise self._broken
