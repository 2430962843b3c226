/* An Arduino Uno as a Modbus RTU slave on RS-485, for a master to read A0 and A1. MAX485: RO to D0, DI to D1, DE and /RE
 * to D2, VCC to 5V, GND to GND, A and B to the bus. See README.md.
 *
 * Modbus over Serial Line 1.02: 8 data bits, even parity, one stop bit (-DNO_PARITY: two stop bits instead); a frame
 * ends with 3.5 characters of silence, and one with more than 1.5 inside is thrown away. */
#include <avr/interrupt.h>
#include <avr/io.h>
#include <avr/sleep.h>
#include <string.h>
#include <util/atomic.h>

#include "modbus.h"

#ifndef UNIT
#define UNIT 1
#endif
#ifndef BAUD
#define BAUD 19200UL
#endif
#define BAUD_DIVISOR ((F_CPU + 4 * BAUD) / (8 * BAUD) - 1)

/* Ticks of timer 1, half a microsecond each. A character has 11 bits; above 19200 baud the silences are fixed. */
#define TICKS_PER_SECOND (F_CPU / 8)
#define CHARACTER (11 * TICKS_PER_SECOND / BAUD)
#define SILENCE_1_5 (BAUD > 19200 ? TICKS_PER_SECOND / 4000 * 3 : CHARACTER * 3 / 2)
#define SILENCE_3_5 (BAUD > 19200 ? TICKS_PER_SECOND / 4000 * 7 : CHARACTER * 7 / 2)
_Static_assert(SILENCE_3_5 < 0x10000, "1200 baud and more");

#define DRIVE (1 << PD2)
#define REFERENCE_MV 5000UL

/* ---- time ---- */

static volatile uint32_t seconds;

ISR(TIMER0_COMPA_vect) {
    static uint16_t ms;
    if (++ms == 1000) {
        ms = 0;
        seconds++;
    }
}

/* ---- the line: half duplex, a frame at a time ---- */

static uint8_t frame[MODBUS_FRAME_MAX], answer[MODBUS_FRAME_MAX];
static volatile uint16_t frame_length, answer_at, answer_length;
/* A frame is there; what comes until it is answered belongs to nobody. */
static volatile uint8_t frame_over, frame_broken;
static uint16_t last_byte;

ISR(USART_RX_vect) {
    uint8_t status = UCSR0A, byte = UDR0;
    uint16_t now = TCNT1;
    if (frame_over)
        return;
    /* This comes at the end of a character: one that follows at once comes a character later. */
    if (frame_length && (uint16_t)(now - last_byte) > CHARACTER + SILENCE_1_5)
        frame_broken = 1;
    if (frame_length < sizeof frame && !(status & (1 << FE0 | 1 << DOR0 | 1 << UPE0)))
        frame[frame_length++] = byte;
    else
        frame_broken = 1;
    last_byte = now;
    OCR1A = now + (uint16_t)SILENCE_3_5;
    TIFR1 = 1 << OCF1A;
    TIMSK1 = 1 << OCIE1A;
}

ISR(TIMER1_COMPA_vect) {
    TIMSK1 = 0;
    frame_over = 1;
}

ISR(USART_UDRE_vect) {
    if (answer_at < answer_length)
        UDR0 = answer[answer_at++];
    else
        UCSR0B &= (uint8_t)~(1 << UDRIE0);
}

/* The last bit is out: the bus belongs to the others. */
ISR(USART_TX_vect) {
    if (answer_at == answer_length)
        PORTD &= (uint8_t)~DRIVE;
}

static void line_listen(void) {
    ATOMIC_BLOCK(ATOMIC_RESTORESTATE) {
        frame_length = 0;
        frame_broken = 0;
        frame_over = 0;
    }
}

static void line_send(uint16_t length) {
    ATOMIC_BLOCK(ATOMIC_RESTORESTATE) {
        answer_at = 0;
        answer_length = length;
        PORTD |= DRIVE;
        UCSR0B |= 1 << UDRIE0;
    }
}

/* ---- the registers: README.md has the map ---- */

enum { INPUT_A0, INPUT_A1, INPUT_SECONDS, INPUT_VOLTS = 4, INPUT_ANSWERED = 6, INPUT_BROKEN, INPUTS };
enum { HOLDING_OFFSET, HOLDING_SAMPLES, HOLDINGS };

static uint16_t holdings[HOLDINGS] = {[HOLDING_OFFSET] = 0, [HOLDING_SAMPLES] = 4};
static uint16_t answered, broken;
/* What takes two registers is taken once, when the first is read, so that the halves belong together. */
static uint32_t latch;

static uint16_t read_mv(uint8_t channel) {
    uint32_t sum = 0;
    ADMUX = (uint8_t)(1 << REFS0 | channel);
    for (uint16_t left = holdings[HOLDING_SAMPLES]; left; left--) {
        ADCSRA |= 1 << ADSC;
        while (ADCSRA & (1 << ADSC)) {
        }
        sum += ADC;
    }
    uint32_t steps = 1024UL * holdings[HOLDING_SAMPLES];
    return (uint16_t)((sum * REFERENCE_MV + steps / 2) / steps);
}

static uint16_t a0_mv(void) {
    int32_t mv = (int32_t)read_mv(0) + (int16_t)holdings[HOLDING_OFFSET];
    return mv < 0 ? 0 : (uint16_t)mv;
}

static uint32_t read_seconds(void) {
    uint32_t now;
    ATOMIC_BLOCK(ATOMIC_RESTORESTATE) now = seconds;
    return now;
}

static uint32_t volts(void) {
    float value = (float)a0_mv() / 1000;
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static uint16_t input(uint16_t address) {
    switch (address) {
    case INPUT_A0: return a0_mv();
    case INPUT_A1: return read_mv(1);
    case INPUT_SECONDS: latch = read_seconds(); return (uint16_t)(latch >> 16);
    case INPUT_VOLTS: latch = volts(); return (uint16_t)(latch >> 16);
    case INPUT_SECONDS + 1:
    case INPUT_VOLTS + 1: return (uint16_t)latch;
    case INPUT_ANSWERED: return answered;
    default: return broken;
    }
}

static uint16_t holding(uint16_t address) {
    return holdings[address];
}

static uint8_t allows(uint16_t address, uint16_t value) {
    return address == HOLDING_SAMPLES ? value >= 1 && value <= 64
                                      : (int16_t)value >= -1000 && (int16_t)value <= 1000;
}

static void write(uint16_t address, uint16_t value) {
    holdings[address] = value;
}

/* ---- the slave ---- */

static void board_start(void) {
    DDRD |= DRIVE;
    UBRR0 = BAUD_DIVISOR;
    UCSR0A = 1 << U2X0;
#ifdef NO_PARITY
    UCSR0C = 1 << USBS0 | 1 << UCSZ01 | 1 << UCSZ00;
#else
    UCSR0C = 1 << UPM01 | 1 << UCSZ01 | 1 << UCSZ00;
#endif
    UCSR0B = 1 << RXEN0 | 1 << TXEN0 | 1 << RXCIE0 | 1 << TXCIE0;
    /* A tick a millisecond: 16 MHz / 64 / 250. */
    TCCR0A = 1 << WGM01;
    OCR0A = F_CPU / 64 / 1000 - 1;
    TIMSK0 = 1 << OCIE0A;
    TCCR0B = 1 << CS01 | 1 << CS00;
    TCCR1B = 1 << CS11;
    ADCSRA = 1 << ADEN | 1 << ADPS2 | 1 << ADPS1 | 1 << ADPS0;
    set_sleep_mode(SLEEP_MODE_IDLE);
    sei();
}

int main(void) {
    static const struct modbus slave = {
        .unit = UNIT, .inputs = INPUTS, .holdings = HOLDINGS,
        .input = input, .holding = holding, .allows = allows, .write = write,
    };
    board_start();
    for (;;) {
        if (frame_over) {
            uint16_t length = 0;
            if (frame_broken || !modbus_whole(frame, frame_length)) {
                broken++;
            } else {
                length = modbus_answer(&slave, frame, frame_length, answer);
                answered += length > 0;
            }
            if (length)
                line_send(length);
            line_listen();
        }
        sleep_mode();
    }
}
