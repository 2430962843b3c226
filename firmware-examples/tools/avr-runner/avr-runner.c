/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Runs the program of an ATmega328P in real time, with its UART on a pseudo-terminal. A test tool: it links libsimavr,
 * which is under the GPL, version 3 or later, and so is this file. Nothing else in the repository links it.
 *
 *   avr-runner [-f HERTZ] [-l LINK] [-e FILE] program.elf
 *
 * It prints `pty PATH` once the line can be opened, then obeys commands on standard input, one a line, and answers each
 * with `ok` or `error: WHY`. README.md has the list. It ends when standard input ends.
 *
 * The clock of the simulated chip follows that of the machine: it never runs ahead, and where the machine is too slow it
 * falls behind and does not hurry afterwards.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include <avr_adc.h>
#include <avr_eeprom.h>
#include <avr_uart.h>
#include <sim_avr.h>
#include <sim_elf.h>

/* Of the ATmega328P, in data space. */
enum { UCSR0A = 0xC0, DOUBLE_SPEED = 1 << 1, UBRR0L = 0xC4, UBRR0H = 0xC5 };
enum { SLICE_US = 1000, BEHIND_MAX_MS = 50, CHANNELS = 8, SUPPLY_MV = 5000 };

#define MCU "atmega328p"

static struct {
    avr_t *avr;
    int master;
    avr_irq_t *uart_in;
    uint8_t in[512];
    size_t in_at, in_end;
    avr_cycle_count_t in_next;
    uint8_t out[4096];
    size_t out_end;
    /* Bytes that nobody fetched in time: a wire does not wait. */
    unsigned long long lost;
    uint8_t *eeprom_file;
    size_t eeprom_size;
    char command[128];
    size_t command_end;
} run;

static volatile sig_atomic_t stop;

static void on_signal(int number) {
    (void)number;
    stop = 1;
}

static void fail(const char *what) {
    fprintf(stderr, "avr-runner: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* ---- the line ------------------------------------------------------------------------------------------------- */

/* A reader that is slow finds up to a kernel buffer and `out` of bytes; what comes beyond is lost and counted. */
static void line_flush(void) {
    size_t at = 0;
    while (at < run.out_end) {
        ssize_t written = write(run.master, run.out + at, run.out_end - at);
        if (written <= 0)
            break;
        at += (size_t)written;
    }
    memmove(run.out, run.out + at, run.out_end - at);
    run.out_end -= at;
}

static void on_output(struct avr_irq_t *irq, uint32_t value, void *param) {
    (void)irq, (void)param;
    if (run.out_end == sizeof run.out)
        line_flush();
    if (run.out_end < sizeof run.out)
        run.out[run.out_end++] = (uint8_t)value;
    else
        run.lost++;
}

/* What a character takes at the baud rate that the program has set: up to twelve bits. libsimavr says when its receiver
 * is full, but not reliably when there is room again, so bytes come no faster than on a wire. */
static avr_cycle_count_t cycles_per_character(void) {
    const uint8_t *registers = run.avr->data;
    unsigned divisor = (registers[UBRR0H] << 8 | registers[UBRR0L]) + 1u;
    return (avr_cycle_count_t)divisor * (registers[UCSR0A] & DOUBLE_SPEED ? 8 : 16) * 12;
}

static void line_raise(void) {
    if (run.in_at == run.in_end || run.avr->cycle < run.in_next)
        return;
    avr_raise_irq(run.uart_in, run.in[run.in_at++]);
    run.in_next = run.avr->cycle + cycles_per_character();
}

static void line_feed(void) {
    if (run.in_at < run.in_end)
        return;
    ssize_t got = read(run.master, run.in, sizeof run.in);
    run.in_at = 0;
    run.in_end = got > 0 ? (size_t)got : 0;
}

/* The link is replaced in one step, so that whoever looks finds the old terminal or the new one. */
static void link_to(const char *link, const char *terminal) {
    char beside[4096];
    if (snprintf(beside, sizeof beside, "%s.%ld", link, (long)getpid()) >= (int)sizeof beside) {
        errno = ENAMETOOLONG;
        fail(link);
    }
    if (symlink(terminal, beside) || rename(beside, link))
        fail(link);
}

static void line_open(const char *link) {
    static char name[128];
    int terminal;
    struct termios raw;
    if (openpty(&run.master, &terminal, name, NULL, NULL))
        fail("no pseudo-terminal");
    /* This end of the terminal stays open, so that the line outlives those who open and close it. */
    if (tcgetattr(terminal, &raw))
        fail(name);
    cfmakeraw(&raw);
    if (tcsetattr(terminal, TCSANOW, &raw) || fcntl(run.master, F_SETFL, O_NONBLOCK))
        fail(name);
    if (link)
        link_to(link, name);
    printf("pty %s\n", name);
    fflush(stdout);
}

/* ---- the chip ------------------------------------------------------------------------------------------------- */

static void voltage(unsigned channel, unsigned millivolts) {
    avr_raise_irq(avr_io_getirq(run.avr, AVR_IOCTL_ADC_GETIRQ, (int)(ADC_IRQ_ADC0 + channel)), millivolts);
}

/* The reset pin: registers start anew, the SRAM and the EEPROM keep what they hold. */
static void reset(void) {
    size_t start = (size_t)run.avr->ioend + 1, size = run.avr->ramend + 1 - start;
    uint8_t *sram = malloc(size);
    if (!sram)
        fail("reset");
    memcpy(sram, run.avr->data + start, size);
    avr_reset(run.avr);
    memcpy(run.avr->data + start, sram, size);
    free(sram);
    /* What waited for the receiver is lost, as it is on a chip. */
    run.in_at = run.in_end = 0;
}

static uint8_t *eeprom(void) {
    avr_eeprom_desc_t all = {.ee = NULL, .offset = 0, .size = run.avr->e2end + 1};
    avr_ioctl(run.avr, AVR_IOCTL_EEPROM_GET, &all);
    return all.ee;
}

/* The EEPROM lives in a file, written as the program writes, so that it is there after any end of this process. */
static void eeprom_open(const char *path) {
    run.eeprom_size = run.avr->e2end + 1;
    int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    off_t size = file < 0 ? -1 : lseek(file, 0, SEEK_END);
    if (size < 0 || ftruncate(file, (off_t)run.eeprom_size))
        fail(path);
    run.eeprom_file = mmap(NULL, run.eeprom_size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (run.eeprom_file == MAP_FAILED)
        fail(path);
    close(file);
    if (size < (off_t)run.eeprom_size)
        memset(run.eeprom_file + size, 0xFF, run.eeprom_size - (size_t)size);
    avr_eeprom_desc_t all = {.ee = run.eeprom_file, .offset = 0, .size = run.avr->e2end + 1};
    avr_ioctl(run.avr, AVR_IOCTL_EEPROM_SET, &all);
}

static void eeprom_save(void) {
    if (run.eeprom_file && memcmp(run.eeprom_file, eeprom(), run.eeprom_size))
        memcpy(run.eeprom_file, eeprom(), run.eeprom_size);
}

/* The main loop paces the chip: a chip that sleeps must not make the process sleep as well. */
static void no_sleep(avr_t *avr, avr_cycle_count_t cycles) {
    (void)avr, (void)cycles;
}

static void no_log(avr_t *avr, const int level, const char *format, va_list words) {
    (void)avr;
    if (level <= LOG_ERROR)
        vfprintf(stderr, format, words);
}

static void chip_make(uint32_t hertz, const char *program) {
    static elf_firmware_t firmware;
    avr_global_logger_set(no_log);
    if (elf_read_firmware(program, &firmware)) {
        fprintf(stderr, "avr-runner: %s is not an ELF file for AVR\n", program);
        exit(1);
    }
    run.avr = avr_make_mcu_by_name(MCU);
    if (!run.avr) {
        fprintf(stderr, "avr-runner: libsimavr knows no %s\n", MCU);
        exit(1);
    }
    avr_init(run.avr);
    avr_load_firmware(run.avr, &firmware);
    run.avr->frequency = hertz;
    run.avr->vcc = run.avr->avcc = run.avr->aref = SUPPLY_MV;
    run.avr->sleep = no_sleep;

    uint32_t flags = 0;
    avr_ioctl(run.avr, AVR_IOCTL_UART_GET_FLAGS('0'), &flags);
    flags &= ~(uint32_t)(AVR_UART_FLAG_STDIO | AVR_UART_FLAG_POLL_SLEEP);
    avr_ioctl(run.avr, AVR_IOCTL_UART_SET_FLAGS('0'), &flags);
    run.uart_in = avr_io_getirq(run.avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_INPUT);
    avr_irq_register_notify(avr_io_getirq(run.avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_OUTPUT), on_output, NULL);
    for (unsigned channel = 0; channel < CHANNELS; channel++)
        voltage(channel, 0);
}

/* ---- commands ------------------------------------------------------------------------------------------------- */

static void obey(const char *command) {
    unsigned channel, millivolts;
    char more;
    if (sscanf(command, "adc %u %u %c", &channel, &millivolts, &more) == 2) {
        if (channel >= CHANNELS || millivolts > SUPPLY_MV) {
            printf("error: channels are 0 to %d, voltages 0 to %d mV\n", CHANNELS - 1, SUPPLY_MV);
        } else {
            voltage(channel, millivolts);
            printf("ok\n");
        }
    } else if (!strcmp(command, "reset")) {
        reset();
        printf("ok\n");
    } else if (!strncmp(command, "noise ", 6)) {
        unsigned byte;
        const char *hex = command + 6;
        for (; sscanf(hex, "%2x", &byte) == 1; hex += hex[1] ? 2 : 1)
            on_output(NULL, byte, NULL);
        printf("ok\n");
    } else if (!strcmp(command, "lost")) {
        printf("ok %llu\n", run.lost);
    } else {
        printf("error: the commands are `adc CHANNEL MILLIVOLTS`, `reset`, `noise HEX` and `lost`\n");
    }
    fflush(stdout);
}

static void commands_read(void) {
    ssize_t got = read(STDIN_FILENO, run.command + run.command_end, sizeof run.command - 1 - run.command_end);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        stop = 1;
        return;
    }
    run.command_end += (size_t)got;
    run.command[run.command_end] = 0;
    char *line = run.command, *end;
    while ((end = strchr(line, '\n'))) {
        *end = 0;
        obey(line);
        line = end + 1;
    }
    run.command_end -= (size_t)(line - run.command);
    memmove(run.command, line, run.command_end);
    if (run.command_end == sizeof run.command - 1)
        run.command_end = 0;
}

/* ---- time ----------------------------------------------------------------------------------------------------- */

static int64_t now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* Waits for a slice of time, or for something to do before it is over. */
static void wait_slice(void) {
    struct pollfd wanted[2] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = run.master, .events = POLLIN}};
    /* What is on the wire already must not keep this from waiting. */
    if (run.in_at < run.in_end)
        wanted[1].fd = -1;
    const struct timespec slice = {.tv_sec = 0, .tv_nsec = SLICE_US * 1000};
    if (ppoll(wanted, 2, &slice, NULL) > 0 && wanted[0].revents)
        commands_read();
}

static int live(void) {
    const int64_t hertz = run.avr->frequency, behind_max = hertz / 1000 * BEHIND_MAX_MS;
    const int64_t start_us = now_us();
    /* Cycles that were never run because the machine was too slow. */
    int64_t skipped = 0;
    int state = cpu_Running;
    while (!stop && state != cpu_Done && state != cpu_Crashed) {
        int64_t due = (now_us() - start_us) * (hertz / 1000) / 1000 - skipped;
        int64_t behind = due - (int64_t)run.avr->cycle;
        if (behind > behind_max) {
            skipped += behind - behind_max;
            due -= behind - behind_max;
        }
        line_feed();
        while ((int64_t)run.avr->cycle < due && state != cpu_Done && state != cpu_Crashed) {
            state = avr_run(run.avr);
            line_raise();
        }
        line_flush();
        eeprom_save();
        wait_slice();
    }
    return state;
}

int main(int count, char **words) {
    const char *link = NULL, *eeprom_path = NULL;
    uint32_t hertz = 16000000;
    int option;
    while ((option = getopt(count, words, "f:l:e:")) != -1) {
        switch (option) {
        case 'f': hertz = (uint32_t)strtoul(optarg, NULL, 10); break;
        case 'l': link = optarg; break;
        case 'e': eeprom_path = optarg; break;
        default: optind = count;
        }
    }
    if (optind + 1 != count || hertz < 1000) {
        fprintf(stderr, "usage: avr-runner [-f HERTZ] [-l LINK] [-e EEPROM_FILE] program.elf\n");
        return 2;
    }
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    fcntl(STDIN_FILENO, F_SETFL, fcntl(STDIN_FILENO, F_GETFL) | O_NONBLOCK);

    chip_make(hertz, words[optind]);
    if (eeprom_path)
        eeprom_open(eeprom_path);
    line_open(link);
    int state = live();
    if (link)
        unlink(link);
    if (state == cpu_Crashed)
        fprintf(stderr, "avr-runner: the program crashed\n");
    return state == cpu_Crashed;
}
