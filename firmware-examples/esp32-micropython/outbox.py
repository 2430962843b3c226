"""The readings that nobody has acknowledged yet: the last `slots` of them, in memory.

Where there is no room, the oldest goes, and each later reading says how many went. A reading goes out under a key (the
number of a frame, the identifier of an MQTT packet) and keeps it.
"""

import json
import time


class Held:
    def __init__(self, payload):
        self.payload = payload
        self.key = None
        # When it was sent last; None where it has to go.
        self.sent_ms = None


class Outbox:
    def __init__(self, slots=64):
        self._slots = slots
        self._held = []
        self._n = 0
        self._dropped = 0

    def put(self, up_ms, mv):
        if len(self._held) == self._slots:
            self._held.pop(0)
            self._dropped += 1
        reading = {"n": self._n, "up_ms": up_ms, "mv": mv, "dropped": self._dropped}
        self._held.append(Held(json.dumps(reading).encode()))
        self._n += 1

    def due(self, now_ms, wait_ms=None, most=None):
        """The oldest of the first `most` that has to go, or was sent `wait_ms` ago and more."""
        for held in self._held[:most]:
            if held.sent_ms is None:
                return held
            if wait_ms is not None and time.ticks_diff(now_ms, held.sent_ms) >= wait_ms:
                return held
        return None

    def oldest(self):
        return self._held[0] if self._held else None

    def again(self):
        """What was sent has to go again, under its key."""
        for held in self._held:
            held.sent_ms = None

    def acknowledge(self, key):
        """Whether something waited under this key; it is let go."""
        for at, held in enumerate(self._held):
            if held.key == key and held.sent_ms is not None:
                self._held.pop(at)
                return True
        return False
