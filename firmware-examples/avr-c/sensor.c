/* A TMP36 on an Arduino Uno, its voltage sent to a gateway by wire. TMP36: left pin to 5V, middle to A0, right to GND;
 * the Uno's USB to the gateway. See README.md.
 *
 * As it is: frames with acknowledgements, payload CBOR. With -DJSON_LINES: a line of JSON each, which nobody
 * acknowledges. The core of it (frame.h, outbox.h, payload.h) knows nothing of the board. */
#include <avr/eeprom.h>
#include <avr/interrupt.h>
#include <avr/io.h>
#include <avr/pgmspace.h>
#include <avr/sleep.h>
#include <stdio.h>
#include <string.h>
#include <util/atomic.h>

#include "payload.h"

#ifndef DEVICE
#define DEVICE "uno-1"
#endif
#ifndef PERIOD_MS
#define PERIOD_MS 1000
#endif
#ifndef BAUD
#define BAUD 115200UL
#endif
/* Double speed, rounded: 115200 comes out as 117647, which is within what a receiver takes. */
#define BAUD_DIVISOR ((F_CPU + 4 * BAUD) / (8 * BAUD) - 1)

/* AVCC, in millivolts: what the converter calls 1024. */
#define REFERENCE_MV 5000UL

/* ---- time ---- */

static volatile uint32_t ticks_ms;

ISR(TIMER0_COMPA_vect) {
    ticks_ms++;
}

static uint32_t now_ms(void) {
    uint32_t now;
    ATOMIC_BLOCK(ATOMIC_RESTORESTATE) now = ticks_ms;
    return now;
}

/* ---- the line: what is sent lies still until it is out; what comes waits in a ring ---- */

static uint8_t out[96];
static volatile uint8_t out_at, out_end;
static volatile uint8_t in[64], in_put, in_take;

ISR(USART_UDRE_vect) {
    if (out_at < out_end)
        UDR0 = out[out_at++];
    else
        UCSR0B &= (uint8_t)~(1 << UDRIE0);
}

/* A byte that finds the ring full is lost, and its frame with it: the checksum tells. */
ISR(USART_RX_vect) {
    uint8_t byte = UDR0, next = (in_put + 1) % sizeof in;
    if (next != in_take) {
        in[in_put] = byte;
        in_put = next;
    }
}

static uint8_t line_idle(void) {
    return out_at == out_end;
}

static void line_send(uint8_t length) {
    ATOMIC_BLOCK(ATOMIC_RESTORESTATE) {
        out_at = 0;
        out_end = length;
        UCSR0B |= 1 << UDRIE0;
    }
}

/* ---- the sensor ---- */

static void board_start(void) {
    UBRR0 = BAUD_DIVISOR;
    UCSR0A = 1 << U2X0;
    UCSR0C = (1 << UCSZ01) | (1 << UCSZ00);
    UCSR0B = (1 << RXEN0) | (1 << TXEN0) | (1 << RXCIE0);
    /* A tick a millisecond: 16 MHz / 64 / 250. */
    TCCR0A = 1 << WGM01;
    OCR0A = F_CPU / 64 / 1000 - 1;
    TIMSK0 = 1 << OCIE0A;
    TCCR0B = (1 << CS01) | (1 << CS00);
    /* 16 MHz / 128 = 125 kHz, as the converter wants it. */
    ADMUX = 1 << REFS0;
    ADCSRA = (1 << ADEN) | (1 << ADPS2) | (1 << ADPS1) | (1 << ADPS0);
    set_sleep_mode(SLEEP_MODE_IDLE);
    sei();
}

static uint16_t read_mv(void) {
    ADCSRA |= 1 << ADSC;
    while (ADCSRA & (1 << ADSC)) {
    }
    return (uint16_t)((ADC * REFERENCE_MV + 512) / 1024);
}

/* Whether a reading is due; however late this is asked, the next is due a period after the last. */
static uint8_t period_over(uint32_t now) {
    static uint32_t next = PERIOD_MS;
    if ((int32_t)(now - next) < 0)
        return 0;
    next += PERIOD_MS;
    return 1;
}

#ifdef JSON_LINES

int main(void) {
    uint32_t n = 0;
    board_start();
    for (;;) {
        uint32_t now = now_ms();
        if (line_idle() && period_over(now)) {
            int length = snprintf_P((char *)out, sizeof out, PSTR("{\"n\":%lu,\"up_ms\":%lu,\"mv\":%u}\n"),
                                    (unsigned long)n++, (unsigned long)now, read_mv());
            line_send((uint8_t)length);
        }
        sleep_mode();
    }
}

#else

_Static_assert(sizeof out > FRAME_MAX(PAYLOAD_MAX), "a reading fits");
_Static_assert(sizeof out > FRAME_MAX(4 + sizeof DEVICE), "the HELLO fits");

static struct slot slots[OUTBOX_SLOTS] __attribute__((section(".noinit")));
static uint32_t boots EEMEM;

/* A count of boots, which the EEPROM keeps, times an odd constant: no two of 2^32 boots are alike, nor do the low 16
 * bits of any 65536 in a row. The EEPROM is good for 100,000 boots and more. */
static uint32_t draw_nonce(void) {
    uint32_t boot = eeprom_read_dword(&boots) + 1;
    eeprom_update_dword(&boots, boot);
    return boot * 0x9E3779B1UL;
}

static void send(uint8_t kind, uint16_t seq, const uint8_t *payload, uint8_t length) {
    struct frame frame = {.kind = kind, .seq = seq, .payload = payload, .length = length};
    /* An end goes first as well: what noise or a reset left on the line then costs no frame. */
    out[0] = 0;
    line_send((uint8_t)(1 + frame_encode(&frame, out + 1, sizeof out - 1)));
}

static void send_hello(uint32_t nonce) {
    uint8_t payload[4 + sizeof DEVICE - 1];
    for (uint8_t at = 0; at < 4; at++)
        payload[at] = (uint8_t)(nonce >> (8 * at));
    memcpy(payload + 4, DEVICE, sizeof DEVICE - 1);
    send(FRAME_HELLO, (uint16_t)nonce, payload, sizeof payload);
}

int main(void) {
    static uint8_t answer[16];
    struct deframer deframer = {.buffer = answer, .room = sizeof answer};
    struct outbox box;
    uint32_t nonce = draw_nonce(), hello_ms = 0;
    uint8_t known = 0, greeted = 0;

    outbox_open(&box, slots, (uint16_t)(nonce + 1));
    board_start();
    for (;;) {
        uint32_t now = now_ms();
        if (period_over(now))
            outbox_put(&box, now, read_mv());

        while (in_take != in_put) {
            struct frame frame;
            uint8_t whole = deframer_take(&deframer, in[in_take], &frame);
            in_take = (in_take + 1) % sizeof in;
            if (!whole || frame.kind != FRAME_ACK)
                continue;
            /* Until the HELLO is acknowledged, an ACK may be meant for a frame from before the reset. */
            if (known)
                outbox_acknowledge(&box, frame.seq);
            else
                known = greeted && frame.seq == (uint16_t)nonce;
        }

        const struct slot *due;
        if (!line_idle()) {
            /* One frame at a time. */
        } else if (!known) {
            if (!greeted || now - hello_ms >= RESEND_MS) {
                send_hello(nonce);
                hello_ms = now;
                greeted = 1;
            }
        } else if ((due = outbox_due(&box, (uint16_t)now))) {
            uint8_t payload[PAYLOAD_MAX];
            send(FRAME_DATA, due->seq, payload, payload_cbor(&due->reading, payload));
        }
        sleep_mode();
    }
}

#endif
