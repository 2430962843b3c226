/* outbox.h and payload.h: what is held, sent again, acknowledged, dropped, and found again after a reset. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../payload.h"

#define EXPECT(holds) expect(holds, #holds, __LINE__)

static void expect(int holds, const char *what, int line) {
    if (!holds) {
        printf("test/outbox.c:%d: %s\n", line, what);
        exit(1);
    }
}

static struct slot slots[OUTBOX_SLOTS];
static struct outbox box;

static void power_up(void) {
    memset(slots, 0xA5, sizeof slots);
    outbox_open(&box, slots, 65530);
}

static void put(uint32_t count) {
    while (count--)
        outbox_put(&box, box.next_n * 1000, (uint16_t)(700 + box.next_n));
}

static void each_goes_once_in_order_and_again_under_its_number_until_it_is_acknowledged(void) {
    power_up();
    EXPECT(!outbox_due(&box, 0));
    put(10);
    for (uint16_t at = 0; at < 10; at++) {
        const struct slot *due = outbox_due(&box, 0);
        EXPECT(due && due->reading.n == at && due->seq == (uint16_t)(65530 + at));
    }
    EXPECT(!outbox_due(&box, RESEND_MS - 1));
    outbox_acknowledge(&box, 65530);
    outbox_acknowledge(&box, 1);
    outbox_acknowledge(&box, 77);
    uint16_t again = 0;
    for (const struct slot *due; (due = outbox_due(&box, 3 * RESEND_MS)); again++)
        EXPECT(due->reading.n != 0 && due->reading.n != 7 && due->seq == (uint16_t)(65530 + due->reading.n));
    EXPECT(again == 8);
}

static void the_wait_doubles_while_nobody_answers(void) {
    power_up();
    put(1);
    EXPECT(outbox_due(&box, 0) && !outbox_due(&box, RESEND_MS - 1) && outbox_due(&box, RESEND_MS));
    EXPECT(!outbox_due(&box, 3 * RESEND_MS - 1) && outbox_due(&box, 3 * RESEND_MS));
    for (uint32_t now = 3 * RESEND_MS; now < 60000; now += RESEND_MAX_MS)
        outbox_due(&box, (uint16_t)now);
    EXPECT(box.wait_ms == RESEND_MAX_MS);
    outbox_acknowledge(&box, 65530);
    EXPECT(box.wait_ms == RESEND_MS);
}

static void the_oldest_goes_when_it_is_full_and_the_loss_is_told(void) {
    power_up();
    put(OUTBOX_SLOTS + 3);
    for (uint32_t n = 3; n < OUTBOX_SLOTS + 3; n++) {
        const struct slot *due = outbox_due(&box, 0);
        EXPECT(due && due->reading.n == n && due->seq == (uint16_t)(65530 + n - 3));
        EXPECT(due->reading.dropped == (n < OUTBOX_SLOTS ? 0 : n - OUTBOX_SLOTS + 1));
    }
    EXPECT(!outbox_due(&box, 0));
}

static void a_reset_at_any_point_loses_nothing_and_numbers_begin_anew(void) {
    power_up();
    for (uint16_t boot = 1; boot <= 70; boot++) {
        uint32_t before = box.next_n;
        put(boot % 5);
        for (uint16_t at = 0; at < boot; at++) {
            const struct slot *due = outbox_due(&box, 0);
            if (due && at % 2 == 0)
                outbox_acknowledge(&box, due->seq);
        }
        uint32_t held = 0, found = 0;
        for (uint8_t at = 0; at < OUTBOX_SLOTS; at++)
            held += slots[at].state == SLOT_HELD;
        outbox_open(&box, slots, (uint16_t)(boot * 1000));
        EXPECT(box.next_n == before + boot % 5);
        for (const struct slot *due; (due = outbox_due(&box, 0)); found++)
            EXPECT(due->seq == (uint16_t)(boot * 1000 + found) && due->reading.mv == 700 + due->reading.n);
        EXPECT(found == held);
        outbox_open(&box, slots, (uint16_t)(boot * 1000));
    }
    EXPECT(box.dropped == 0);
}

static void half_a_reading_is_none(void) {
    power_up();
    put(3);
    slots[1].reading.mv ^= 1;
    slots[2].state = 0;
    outbox_open(&box, slots, 0);
    const struct slot *due = outbox_due(&box, 0);
    EXPECT(due && due->reading.n == 0 && !outbox_due(&box, 0) && box.next_n == 1);
}

static void a_reading_is_a_map_of_four(void) {
    uint8_t out[PAYLOAD_MAX];
    const struct reading small = {.n = 7, .up_ms = 1000, .mv = 200, .dropped = 0};
    const uint8_t bytes[] = "\xA4\x61n\x07\x65up_ms\x19\x03\xE8\x62mv\x18\xC8\x67" "dropped";
    EXPECT(payload_cbor(&small, out) == sizeof bytes && !memcmp(out, bytes, sizeof bytes));
    const struct reading large = {.n = 0xFFFFFFFF, .up_ms = 0x10000, .mv = 0x100, .dropped = 0xFFFF};
    EXPECT(payload_cbor(&large, out) == PAYLOAD_MAX && !memcmp(out + 3, "\x1A\xFF\xFF\xFF\xFF", 5));
}

int main(void) {
    each_goes_once_in_order_and_again_under_its_number_until_it_is_acknowledged();
    the_wait_doubles_while_nobody_answers();
    the_oldest_goes_when_it_is_full_and_the_loss_is_told();
    a_reset_at_any_point_loses_nothing_and_numbers_begin_anew();
    half_a_reading_is_none();
    a_reading_is_a_map_of_four();
    printf("the outbox holds\n");
    return 0;
}
