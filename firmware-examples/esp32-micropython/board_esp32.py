"""An ESP32 as MicroPython has it: WLAN, a UART, a pin of the converter."""

import os
import time

import machine
import network
import ntptime


class Board:
    def __init__(self, settings):
        # Up to about 2.4 V with this attenuation; the calibration of the chip is in read_uv.
        self._adc = machine.ADC(machine.Pin(settings.get("adc_pin", 34)), atten=machine.ADC.ATTN_11DB)

    def read_mv(self):
        return self._adc.read_uv() // 1000

    def nonce(self):
        return int.from_bytes(os.urandom(4), "little")

    def line(self, settings):
        return Uart(settings)

    def join(self, settings):
        """Joins the WLAN, and sets the clock, without which no certificate is valid."""
        wlan = network.WLAN(network.STA_IF)
        wlan.active(True)
        wlan.connect(settings["ssid"], settings["password"])
        while not wlan.isconnected():
            time.sleep_ms(100)
        while True:
            try:
                return ntptime.settime()
            except OSError as error:
                print("no time yet:", repr(error))
                time.sleep(2)


class Uart:
    def __init__(self, settings):
        self._uart = machine.UART(
            settings.get("uart", 2), settings.get("baud", 115200), tx=settings.get("tx", 17), rx=settings.get("rx", 16)
        )

    def read(self):
        return self._uart.read() or b""

    def write(self, data):
        self._uart.write(data)
