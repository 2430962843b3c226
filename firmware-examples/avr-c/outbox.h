/* The readings that nobody has acknowledged yet. C99, no heap, nothing of the board.
 *
 * Reading n lies in slot n mod OUTBOX_SLOTS, so a new one takes the place of the oldest; where that had not been
 * acknowledged it is dropped, and counted. A sensor puts the slots where a reset leaves them alone (.noinit): each has a
 * check, and `outbox_open` finds those again that a reset left behind.
 *
 * Invariants:
 * - a reading keeps its sequence number for as long as the sensor runs; after a reset it gets another, since the
 *   numbers then begin elsewhere;
 * - no more than OUTBOX_SLOTS numbers lie between the oldest reading that is not acknowledged and the newest: the
 *   gateway recognises a repeat among the last 64. */
#ifndef OUTBOX_H
#define OUTBOX_H

#include <stdint.h>

#include "frame.h"

/* A power of two, at most 64. */
#define OUTBOX_SLOTS 64

#ifndef RESEND_MS
#define RESEND_MS 1000
#endif
/* While nobody answers, the wait doubles up to this. */
#define RESEND_MAX_MS 8000

struct reading {
    /* Counts readings since power came. */
    uint32_t n;
    uint32_t up_ms;
    uint16_t mv;
    /* Readings that were dropped before this one, up to 65535. */
    uint16_t dropped;
};

/* Two values that memory does not hold by accident, set by a single write each. */
enum slot_state { SLOT_ACKNOWLEDGED = 0x3C, SLOT_HELD = 0x5A };

struct slot {
    struct reading reading;
    uint16_t check;
    uint8_t state;
    /* Of this run: whether it was sent, under which number and when. */
    uint8_t sent;
    uint16_t seq;
    uint16_t sent_ms;
};

struct outbox {
    struct slot *slots;
    uint32_t next_n;
    uint16_t next_seq;
    uint16_t dropped;
    uint16_t wait_ms;
};

static inline uint16_t reading_check(const struct reading *reading) {
    uint16_t crc = 0x7164;
    const uint8_t *bytes = (const uint8_t *)reading;
    for (uint8_t at = 0; at < sizeof *reading; at++)
        crc = frame_crc(crc, bytes[at]);
    return crc;
}

static inline struct slot *outbox_slot(struct outbox *box, uint32_t n) {
    return &box->slots[n & (OUTBOX_SLOTS - 1)];
}

static inline uint32_t outbox_oldest(const struct outbox *box) {
    return box->next_n > OUTBOX_SLOTS ? box->next_n - OUTBOX_SLOTS : 0;
}

/* Finds what a reset left behind, and goes on from there; numbers begin at `seq`. */
static inline void outbox_open(struct outbox *box, struct slot *slots, uint16_t seq) {
    *box = (struct outbox){.slots = slots, .next_seq = seq, .wait_ms = RESEND_MS};
    for (uint8_t at = 0; at < OUTBOX_SLOTS; at++) {
        struct slot *slot = &slots[at];
        uint8_t whole = (slot->state == SLOT_HELD || slot->state == SLOT_ACKNOWLEDGED) &&
                        (slot->reading.n & (OUTBOX_SLOTS - 1)) == at && slot->check == reading_check(&slot->reading);
        slot->sent = 0;
        if (!whole) {
            slot->state = 0;
        } else if (slot->reading.n >= box->next_n) {
            box->next_n = slot->reading.n + 1;
            box->dropped = slot->reading.dropped;
        }
    }
}

static inline void outbox_put(struct outbox *box, uint32_t up_ms, uint16_t mv) {
    struct slot *slot = outbox_slot(box, box->next_n);
    if (slot->state == SLOT_HELD && box->dropped < UINT16_MAX)
        box->dropped++;
    /* A reset in the middle of this finds no reading rather than half of one. */
    *(volatile uint8_t *)&slot->state = 0;
    slot->reading = (struct reading){.n = box->next_n++, .up_ms = up_ms, .mv = mv, .dropped = box->dropped};
    slot->check = reading_check(&slot->reading);
    slot->sent = 0;
    *(volatile uint8_t *)&slot->state = SLOT_HELD;
}

/* The oldest reading that was not sent in this run, or was sent too long ago; it counts as sent now. */
static inline const struct slot *outbox_due(struct outbox *box, uint16_t now_ms) {
    uint8_t first = 1;
    for (uint32_t n = outbox_oldest(box); n != box->next_n; n++) {
        struct slot *slot = outbox_slot(box, n);
        if (slot->state != SLOT_HELD)
            continue;
        if (!slot->sent) {
            slot->seq = box->next_seq++;
        } else if ((uint16_t)(now_ms - slot->sent_ms) < box->wait_ms) {
            first = 0;
            continue;
        } else if (first && box->wait_ms < RESEND_MAX_MS) {
            box->wait_ms *= 2;
        }
        slot->sent = 1;
        slot->sent_ms = now_ms;
        return slot;
    }
    return NULL;
}

/* A number that no reading of this run waits under means nothing. */
static inline void outbox_acknowledge(struct outbox *box, uint16_t seq) {
    for (uint8_t at = 0; at < OUTBOX_SLOTS; at++) {
        struct slot *slot = &box->slots[at];
        if (slot->state == SLOT_HELD && slot->sent && slot->seq == seq) {
            slot->state = SLOT_ACKNOWLEDGED;
            box->wait_ms = RESEND_MS;
        }
    }
}

#endif
