/* A Modbus slave, without its line and its board: a request in, an answer out. Modbus Application Protocol 1.1b3.
 *
 *   RTU frame = unit u8 | function u8 | data | crc u16            data big endian, crc little endian; at most 256 bytes
 *
 * 03 and 04 read holding and input registers, 06 and 16 write holding registers. Anything else is answered by an
 * exception: 01 for the function, 02 for the address, 03 for a value or a quantity. A write is done whole or not at
 * all. What is broadcast (unit 0) is done and not answered. */
#ifndef MODBUS_H
#define MODBUS_H

#include <stdint.h>

#define MODBUS_FRAME_MAX 256
#define MODBUS_READ_MAX 125
#define MODBUS_WRITE_MAX 123

enum modbus_exception { MODBUS_FUNCTION = 1, MODBUS_ADDRESS = 2, MODBUS_VALUE = 3 };

/* What a slave has. */
struct modbus {
    uint8_t unit;
    uint16_t inputs, holdings;
    uint16_t (*input)(uint16_t address);
    uint16_t (*holding)(uint16_t address);
    /* Whether a value may stand there. */
    uint8_t (*allows)(uint16_t address, uint16_t value);
    void (*write)(uint16_t address, uint16_t value);
};

/* CRC-16/MODBUS: polynomial 8005 reflected, from FFFF; the check value of "123456789" is 4B37. */
static inline uint16_t modbus_crc(const uint8_t *bytes, uint16_t length) {
    uint16_t crc = 0xFFFF;
    while (length--) {
        crc ^= *bytes++;
        for (uint8_t bit = 0; bit < 8; bit++)
            crc = crc & 1 ? (crc >> 1) ^ 0xA001 : crc >> 1;
    }
    return crc;
}

static inline uint8_t modbus_whole(const uint8_t *frame, uint16_t length) {
    return length >= 4 && modbus_crc(frame, length - 2) == (frame[length - 2] | (uint16_t)frame[length - 1] << 8);
}

static inline uint16_t modbus_word(const uint8_t *bytes) {
    return (uint16_t)(bytes[0] << 8 | bytes[1]);
}

static inline uint8_t *modbus_put(uint8_t *out, uint16_t word) {
    *out++ = (uint8_t)(word >> 8);
    *out++ = (uint8_t)word;
    return out;
}

/* Whether `count` registers from `address` on exist; written so that nothing overflows. */
static inline uint8_t modbus_exist(uint16_t address, uint16_t count, uint16_t registers) {
    return address < registers && count <= registers - address;
}

static inline uint8_t modbus_read(const uint8_t *request, uint16_t length, uint16_t registers,
                                  uint16_t (*value)(uint16_t), uint8_t **end) {
    uint16_t address = modbus_word(request), count = modbus_word(request + 2);
    if (length != 4 || count == 0 || count > MODBUS_READ_MAX)
        return MODBUS_VALUE;
    if (!modbus_exist(address, count, registers))
        return MODBUS_ADDRESS;
    *(*end)++ = (uint8_t)(2 * count);
    for (uint16_t at = 0; at < count; at++)
        *end = modbus_put(*end, value(address + at));
    return 0;
}

static inline uint8_t modbus_write(const struct modbus *slave, uint16_t address, const uint8_t *values, uint16_t count) {
    if (!modbus_exist(address, count, slave->holdings))
        return MODBUS_ADDRESS;
    for (uint16_t at = 0; at < count; at++)
        if (!slave->allows(address + at, modbus_word(values + 2 * at)))
            return MODBUS_VALUE;
    for (uint16_t at = 0; at < count; at++)
        slave->write(address + at, modbus_word(values + 2 * at));
    return 0;
}

/* Does what data of a request asks for; the answer's data go to `*end`, which is moved on. */
static inline uint8_t modbus_do(const struct modbus *slave, uint8_t function, const uint8_t *data, uint16_t length,
                                uint8_t **end) {
    if (function != 3 && function != 4 && function != 6 && function != 16)
        return MODBUS_FUNCTION;
    if (length < 4)
        return MODBUS_VALUE;
    if (function == 3)
        return modbus_read(data, length, slave->holdings, slave->holding, end);
    if (function == 4)
        return modbus_read(data, length, slave->inputs, slave->input, end);
    uint16_t address = modbus_word(data), second = modbus_word(data + 2);
    uint8_t exception;
    if (function == 6) {
        exception = length == 4 ? modbus_write(slave, address, data + 2, 1) : MODBUS_VALUE;
    } else {
        uint8_t fits = length >= 5 && second >= 1 && second <= MODBUS_WRITE_MAX && data[4] == 2 * second &&
                       length == 5 + 2 * second;
        exception = fits ? modbus_write(slave, address, data + 5, second) : MODBUS_VALUE;
    }
    if (!exception)
        *end = modbus_put(modbus_put(*end, address), second);
    return exception;
}

/* Answers a whole frame; says how long the answer is, 0 for none. `answer` takes MODBUS_FRAME_MAX bytes. */
static inline uint16_t modbus_answer(const struct modbus *slave, const uint8_t *frame, uint16_t length, uint8_t *answer) {
    if (frame[0] != slave->unit && frame[0] != 0)
        return 0;
    uint8_t *end = answer + 2;
    uint8_t exception = modbus_do(slave, frame[1], frame + 2, length - 4, &end);
    if (frame[0] == 0)
        return 0;
    answer[0] = slave->unit;
    answer[1] = frame[1];
    if (exception) {
        answer[1] |= 0x80;
        answer[2] = exception;
        end = answer + 3;
    }
    uint16_t crc = modbus_crc(answer, (uint16_t)(end - answer));
    *end++ = (uint8_t)crc;
    *end++ = (uint8_t)(crc >> 8);
    return (uint16_t)(end - answer);
}

#endif
