"""A computer in the place of an ESP32, for the tests: a file holds the voltage, a terminal is the line."""

import os
import select
import termios


class Board:
    def __init__(self, settings):
        self._voltage = settings["mv_file"]

    def read_mv(self):
        with open(self._voltage) as file:
            return int(file.read() or "0")

    def nonce(self):
        return int.from_bytes(os.urandom(4), "little")

    def line(self, settings):
        return Terminal(settings["port"])

    def join(self, settings):
        pass


class Terminal:
    def __init__(self, path):
        self._file = open(path, "r+b")
        termios.setraw(self._file.fileno())
        self._poll = select.poll()
        self._poll.register(self._file, select.POLLIN)

    def read(self):
        out = bytearray()
        while self._poll.poll(0):
            byte = self._file.read(1)
            if not byte:
                raise OSError("the line was cut")
            out += byte
        return out

    def write(self, data):
        self._file.write(data)
