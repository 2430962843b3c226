/* What a reading says: `{"n": 7, "up_ms": 7000, "mv": 712, "dropped": 0}`, as CBOR (RFC 8949) or as a line of JSON. */
#ifndef PAYLOAD_H
#define PAYLOAD_H

#include <stdint.h>

#include "outbox.h"

/* A map of four: names of 1, 5, 2 and 7 letters, two numbers of 32 bits and two of 16. */
#define PAYLOAD_MAX (1 + 4 + 1 + 5 + 2 + 7 + 2 * 5 + 2 * 3)

static inline uint8_t *cbor_head(uint8_t *out, uint8_t major, uint32_t value) {
    major = (uint8_t)(major << 5);
    if (value < 24) {
        *out++ = (uint8_t)(major | value);
        return out;
    }
    uint8_t bytes = value < 0x100 ? 1 : value < 0x10000 ? 2 : 4;
    *out++ = (uint8_t)(major | (bytes == 1 ? 24 : bytes == 2 ? 25 : 26));
    while (bytes--)
        *out++ = (uint8_t)(value >> (8 * bytes));
    return out;
}

static inline uint8_t *cbor_field(uint8_t *out, const char *name, uint32_t value) {
    uint8_t length = 0;
    while (name[length])
        length++;
    out = cbor_head(out, 3, length);
    while (*name)
        *out++ = (uint8_t)*name++;
    return cbor_head(out, 0, value);
}

/* Writes at most PAYLOAD_MAX bytes, the same for the same reading; says how many. */
static inline uint8_t payload_cbor(const struct reading *reading, uint8_t *out) {
    uint8_t *at = cbor_head(out, 5, 4);
    at = cbor_field(at, "n", reading->n);
    at = cbor_field(at, "up_ms", reading->up_ms);
    at = cbor_field(at, "mv", reading->mv);
    at = cbor_field(at, "dropped", reading->dropped);
    return (uint8_t)(at - out);
}

#endif
