/* frame.h against the vectors that every implementation is held against, and against what a line does to frames.
 * usage: frames tests/vectors/frames.txt */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../frame.h"

enum { LONGEST = 1024 };

static void expect(int holds, const char *what, int line) {
    if (!holds) {
        printf("line %d: %s\n", line, what);
        exit(1);
    }
}

/* Reads a word of hex digits, `-` for none; says how many bytes. */
static size_t unhex(const char *word, uint8_t *out) {
    size_t length = *word == '-' ? 0 : strlen(word) / 2;
    for (size_t at = 0; at < length; at++) {
        unsigned byte;
        expect(sscanf(word + 2 * at, "%2x", &byte) == 1, "not hex", 0);
        out[at] = (uint8_t)byte;
    }
    return length;
}

static void vector(int line, unsigned kind, unsigned seq, const char *payload_hex, const char *frame_hex) {
    uint8_t payload[LONGEST], told[LONGEST], written[LONGEST], buffer[LONGEST];
    size_t length = unhex(payload_hex, payload), told_length = unhex(frame_hex, told);
    struct frame frame = {.kind = (uint8_t)kind, .seq = (uint16_t)seq, .payload = payload, .length = length};

    expect(frame_encode(&frame, written, sizeof written) == told_length, "another length is written", line);
    expect(!memcmp(written, told, told_length), "other bytes are written", line);
    expect(told_length <= FRAME_MAX(length), "more than FRAME_MAX", line);
    for (size_t room = 0; room < told_length; room++)
        expect(frame_encode(&frame, written, room) == 0, "it does not fit, and is not refused", line);

    /* Noise and an end first, then all of it by single bytes. */
    struct deframer deframer = {.buffer = buffer, .room = sizeof buffer};
    struct frame read;
    expect(!deframer_take(&deframer, 0x55, &read) && !deframer_take(&deframer, 0, &read), "noise is a frame", line);
    for (size_t at = 0; at + 1 < told_length; at++)
        expect(!deframer_take(&deframer, told[at], &read), "a frame before its end", line);
    expect(deframer_take(&deframer, told[told_length - 1], &read), "no frame at its end", line);
    expect(read.kind == kind && read.seq == seq, "another kind or seq is read", line);
    expect(read.length == length && !memcmp(read.payload, payload, length), "another payload is read", line);

    /* Each bit matters, and what is too long for the buffer costs one frame. */
    for (size_t bit = 0; bit < 8 * (told_length - 1); bit++) {
        uint8_t bad[LONGEST];
        memcpy(bad, told, told_length);
        bad[bit / 8] ^= (uint8_t)(1 << bit % 8);
        for (size_t at = 0; at < told_length; at++)
            expect(!deframer_take(&deframer, bad[at], &read), "a changed bit is not found out", line);
    }
    struct deframer small = {.buffer = buffer, .room = told_length - 2};
    for (size_t at = 0; at < told_length; at++)
        expect(!deframer_take(&small, told[at], &read), "too long, and not refused", line);
    expect(small.filled == 0 && !small.too_long, "the next frame is lost as well", line);
}

int main(int count, char **words) {
    FILE *file = count == 2 ? fopen(words[1], "r") : NULL;
    static char text[4 * LONGEST], payload[4 * LONGEST], frame[4 * LONGEST];
    expect(file != NULL, "usage: frames tests/vectors/frames.txt", 0);
    int vectors = 0;
    for (int line = 1; fgets(text, sizeof text, file); line++) {
        unsigned kind, seq;
        if (*text == '#')
            continue;
        expect(sscanf(text, "%u %u %s %s", &kind, &seq, payload, frame) == 4, "not a vector", line);
        vector(line, kind, seq, payload, frame);
        vectors++;
    }
    fclose(file);
    expect(vectors >= 10, "hardly any vectors", 0);
    printf("%d vectors\n", vectors);
    return 0;
}
