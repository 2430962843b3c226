# A voltage on pin 34 of an ESP32, sent to a broker over TLS (QoS 1) or to a gateway by wire. TMP36: left pin to 3V3,
# middle to GPIO 34, right to GND; by wire, GPIO 17 (TX) and 16 (RX) to a USB adapter of the gateway. See README.md.
#
# Runs as it is on the unix port of MicroPython, where it is tested: only board_*.py know where they are.
import asyncio
import json
import sys
import time

from outbox import Outbox

if sys.platform == "esp32":
    from board_esp32 import Board
else:
    from board_unix import Board


async def sample(board, outbox, period_ms):
    """A reading a period; one that comes late moves none of the others."""
    start = next_ms = time.ticks_ms()
    while True:
        next_ms = time.ticks_add(next_ms, period_ms)
        await asyncio.sleep_ms(max(0, time.ticks_diff(next_ms, time.ticks_ms())))
        outbox.put(time.ticks_diff(time.ticks_ms(), start), board.read_mv())


def mqtt(board, settings, outbox):
    from mqtt_link import MqttLink

    board.join(settings.get("wifi"))
    at = settings["mqtt"]
    context = None
    if "ca_file" in at:
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.verify_mode = ssl.CERT_REQUIRED
        with open(at["ca_file"], "rb") as file:
            context.load_verify_locations(cadata=file.read())

    async def connect():
        if context is None:
            return await asyncio.open_connection(at["host"], at["port"])
        return await asyncio.open_connection(at["host"], at["port"], context, at.get("name", at["host"]))

    device = settings["device"]
    topic = at.get("topic", "sensors/%s/telemetry") % device
    return MqttLink(connect, device, topic, outbox, at.get("user"), at.get("password"))


def serial(board, settings, outbox):
    from serial_link import RESEND_MS, SerialLink

    at = settings["serial"]
    return SerialLink(board.line(at), settings["device"], board.nonce(), outbox, at.get("resend_ms", RESEND_MS))


async def run(settings):
    board = Board(settings)
    outbox = Outbox(settings.get("slots", 64))
    link = (mqtt if "mqtt" in settings else serial)(board, settings, outbox)
    await asyncio.gather(sample(board, outbox, settings.get("period_ms", 1000)), link.run())


with open(sys.argv[1] if len(sys.argv) > 1 else "settings.json") as file:
    asyncio.run(run(json.load(file)))
