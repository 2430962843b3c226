/* Frames of a serial line: readings out, acknowledgements back. C99, no heap, nothing of the board.
 *
 *   line  = * (COBS(frame) 00)
 *   frame = kind u8 | seq u16 | payload | crc u16       little endian; CRC-16/X-25 over all before it
 *
 * COBS (Cheshire and Baker, 1999) keeps 00 for the end of a frame. Held against the vectors in tests/vectors/frames.txt,
 * as every implementation is. */
#ifndef FRAME_H
#define FRAME_H

#include <stddef.h>
#include <stdint.h>

enum frame_kind { FRAME_DATA = 1, FRAME_ACK = 2, FRAME_HELLO = 3 };

/* Kind, sequence number and checksum. */
#define FRAME_AROUND 5

/* What a frame with so long a payload takes on the line at most, its end included. */
#define FRAME_MAX(payload) ((payload) + FRAME_AROUND + ((payload) + FRAME_AROUND) / 254 + 2)

struct frame {
    uint8_t kind;
    uint16_t seq;
    const uint8_t *payload;
    size_t length;
};

static inline uint16_t frame_crc(uint16_t crc, uint8_t byte) {
    crc ^= byte;
    for (uint8_t bit = 0; bit < 8; bit++)
        crc = crc & 1 ? (crc >> 1) ^ 0x8408 : crc >> 1;
    return crc;
}

/* Writes COBS pieces into a buffer. */
struct cobs {
    uint8_t *out;
    size_t room, at;
    /* Where the code of the piece that is being written stands. */
    size_t code;
    uint8_t full;
};

static inline void cobs_byte(struct cobs *cobs, uint8_t byte) {
    if (cobs->at < cobs->room)
        cobs->out[cobs->at++] = byte;
    else
        cobs->full = 1;
}

static inline void cobs_close(struct cobs *cobs) {
    if (cobs->code < cobs->room)
        cobs->out[cobs->code] = (uint8_t)(cobs->at - cobs->code);
    cobs->code = cobs->at;
}

static inline void cobs_put(struct cobs *cobs, uint8_t byte) {
    /* A full piece ends when more follows, so that nothing empty is ever written behind one. */
    if (cobs->at - cobs->code > 254) {
        cobs_close(cobs);
        cobs_byte(cobs, 0);
    }
    if (byte == 0)
        cobs_close(cobs);
    cobs_byte(cobs, byte);
}

/* Writes a frame and its end, and says how many bytes that took; 0 where there is not the room. */
static inline size_t frame_encode(const struct frame *frame, uint8_t *out, size_t room) {
    struct cobs cobs = {.out = out, .room = room, .at = 1};
    uint16_t crc = 0xFFFF;
    const uint8_t head[3] = {frame->kind, (uint8_t)frame->seq, (uint8_t)(frame->seq >> 8)};
    for (size_t at = 0; at < 3 + frame->length; at++) {
        uint8_t byte = at < 3 ? head[at] : frame->payload[at - 3];
        crc = frame_crc(crc, byte);
        cobs_put(&cobs, byte);
    }
    crc ^= 0xFFFF;
    cobs_put(&cobs, (uint8_t)crc);
    cobs_put(&cobs, (uint8_t)(crc >> 8));
    cobs_close(&cobs);
    cobs_byte(&cobs, 0);
    return cobs.full ? 0 : cobs.at;
}

/* Undoes COBS where the bytes lie, and says how many they come to; SIZE_MAX where a piece goes on behind the end. */
static inline size_t cobs_decode(uint8_t *bytes, size_t length) {
    size_t from = 0, to = 0;
    while (from < length) {
        uint8_t code = bytes[from++];
        if (code == 0 || from + code - 1 > length)
            return SIZE_MAX;
        for (uint8_t left = code - 1; left; left--)
            bytes[to++] = bytes[from++];
        if (code < 255 && from < length)
            bytes[to++] = 0;
    }
    return to;
}

/* Reads what lies between two ends, in place; 0 where it is no frame. */
static inline uint8_t frame_decode(uint8_t *bytes, size_t length, struct frame *frame) {
    length = cobs_decode(bytes, length);
    if (length == SIZE_MAX || length < FRAME_AROUND)
        return 0;
    uint16_t crc = 0xFFFF;
    for (size_t at = 0; at < length - 2; at++)
        crc = frame_crc(crc, bytes[at]);
    if ((crc ^ 0xFFFF) != (bytes[length - 2] | (uint16_t)bytes[length - 1] << 8))
        return 0;
    frame->kind = bytes[0];
    frame->seq = (uint16_t)(bytes[1] | bytes[2] << 8);
    frame->payload = bytes + 3;
    frame->length = length - FRAME_AROUND;
    return frame->kind >= FRAME_DATA && frame->kind <= FRAME_HELLO;
}

/* Gathers the bytes of one frame at a time, in the caller's buffer. */
struct deframer {
    uint8_t *buffer;
    size_t room, filled;
    /* This frame is longer than the buffer: what comes is thrown away up to its end. */
    uint8_t too_long;
};

/* Takes a byte; says whether it ended a frame, and which. */
static inline uint8_t deframer_take(struct deframer *deframer, uint8_t byte, struct frame *frame) {
    if (byte) {
        if (deframer->filled < deframer->room)
            deframer->buffer[deframer->filled++] = byte;
        else
            deframer->too_long = 1;
        return 0;
    }
    size_t filled = deframer->too_long ? 0 : deframer->filled;
    deframer->filled = 0;
    deframer->too_long = 0;
    return filled && frame_decode(deframer->buffer, filled, frame);
}

#endif
