/* The settings of serial ports where an emulator runs the gateway: QEMU's user mode answers TCGETS2 and TCSETS2, which
 * ports are set up by, with ENOSYS. Loaded into the program that it runs, this answers them by TCGETS and TCSETS, which
 * hold the same but for speeds that have no name of their own:
 *   qemu-aarch64-static -E LD_PRELOAD=termios2.so -L /usr/aarch64-linux-gnu tidegate ...
 */
#include <asm/ioctls.h>
#include <asm/termbits.h>
#include <stdarg.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int ioctl(int fd, unsigned long request, ...)
{
    va_list more;
    va_start(more, request);
    void *argument = va_arg(more, void *);
    va_end(more);

    struct termios plain;
    struct termios2 *full = argument;
    switch (request) {
    case TCGETS2:
        if (syscall(SYS_ioctl, fd, TCGETS, &plain) != 0)
            return -1;
        memcpy(full, &plain, sizeof plain);
        full->c_ispeed = full->c_ospeed = 115200;
        return 0;
    case TCSETS2:
    case TCSETSW2:
    case TCSETSF2:
        memcpy(&plain, full, sizeof plain);
        /* A pseudo-terminal has no speed, whatever it is given. */
        plain.c_cflag = (plain.c_cflag & ~(tcflag_t)CBAUD) | B115200;
        return syscall(SYS_ioctl, fd, TCSETS + (request - TCSETS2), &plain);
    default:
        return syscall(SYS_ioctl, fd, request, argument);
    }
}
