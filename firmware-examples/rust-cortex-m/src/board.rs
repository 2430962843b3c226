//! The LM3S6965 (Texas Instruments, data sheet DS-LM3S6965): clock, a tick a millisecond, UART 0 and one input of the
//! converter. All that is unsafe is here.
//!
//! Nothing here waits: the UART's queues hold 16 bytes, more than a line of 115200 baud carries in a millisecond, so a
//! loop that looks once a tick loses nothing.

use core::sync::atomic::{AtomicU32, Ordering};

use cortex_m::peripheral::syst::SystClkSource;

use crate::outbox::{SLOTS, Slot};

const CLOCK_HZ: u32 = 50_000_000;
/// What the converter calls 1024: its reference is 3 V.
const REFERENCE_MV: u32 = 3_000;

/// System control.
const RIS: u32 = 0x400F_E050;
const RCC: u32 = 0x400F_E060;
const RCGC0: u32 = 0x400F_E100;
const RCGC1: u32 = 0x400F_E104;
const RCGC2: u32 = 0x400F_E108;
const GPIO_A: u32 = 0x4000_4000;
const UART_0: u32 = 0x4000_C000;
const TIMER_0: u32 = 0x4003_0000;
const ADC_0: u32 = 0x4003_8000;

static TICKS: AtomicU32 = AtomicU32::new(0);

#[cortex_m_rt::exception]
fn SysTick() {
    // A Cortex-M3 has no two cores: nothing comes between.
    TICKS.store(TICKS.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
}

/// Where a reset leaves things alone.
#[unsafe(link_section = ".uninit.slots")]
static mut SLOTS_KEPT: [Slot; SLOTS] = [Slot::EMPTY; SLOTS];
#[unsafe(link_section = ".noise")]
static mut NOISE: [u32; 16] = [0; 16];

/// What there is one of.
pub struct Board {
    _only: (),
}

impl Board {
    /// Starts everything, with a conversion every so many milliseconds. Called once; `None` afterwards.
    pub fn start(period_ms: u32) -> Option<(Self, &'static mut [Slot; SLOTS])> {
        let mut core = cortex_m::Peripherals::take()?;
        clock();
        write(RCGC0, read(RCGC0) | 1 << 16);
        write(RCGC1, read(RCGC1) | 1 << 16 | 1);
        write(RCGC2, read(RCGC2) | 1);
        // A few cycles pass before what has a clock can be touched.
        cortex_m::asm::delay(16);
        uart();
        converter(period_ms);
        core.SYST.set_reload(CLOCK_HZ / 1_000 - 1);
        core.SYST.set_clock_source(SystClkSource::Core);
        core.SYST.clear_current();
        core.SYST.enable_counter();
        core.SYST.enable_interrupt();
        // SAFETY: `take` gives the peripherals once, so this is the only reference there ever is; a slot is nothing but
        // numbers, whatever memory holds.
        let slots = unsafe { &mut *(&raw mut SLOTS_KEPT) };
        Some((Self { _only: () }, slots))
    }

    /// Milliseconds since the reset.
    pub fn now_ms(&self) -> u32 {
        TICKS.load(Ordering::Relaxed)
    }

    /// Sleeps up to the next tick.
    pub fn sleep(&self) {
        cortex_m::asm::wfi();
    }

    /// The next byte of the line, if one came.
    pub fn receive(&mut self) -> Option<u8> {
        let empty = read(UART_0 + 0x18) & 1 << 4 != 0;
        if empty { None } else { Some(read(UART_0) as u8) }
    }

    /// Puts as many of these bytes on the line as it takes now, and says how many.
    pub fn send(&mut self, bytes: &[u8]) -> usize {
        let mut sent = 0;
        for byte in bytes {
            let full = read(UART_0 + 0x18) & 1 << 5 != 0;
            if full {
                break;
            }
            write(UART_0, u32::from(*byte));
            sent += 1;
        }
        sent
    }

    /// The voltage on ADC0, in millivolts, once a period.
    pub fn sample_mv(&mut self) -> Option<u32> {
        let converted = read(ADC_0 + 0x04) & 1 << 3 != 0;
        if !converted {
            return None;
        }
        write(ADC_0 + 0x0C, 1 << 3);
        let steps = read(ADC_0 + 0xA8) & 0x3FF;
        Some((steps * REFERENCE_MV + 512) / 1024)
    }

    /// A number that is another at each boot: what SRAM held when power came, hashed, and hashed on at each reset.
    /// A product would rather count boots in flash, or ask a random number generator, which this chip has not.
    pub fn draw_nonce(&mut self) -> u32 {
        let noise = &raw mut NOISE;
        let mut hash = 0x811C_9DC5_u32;
        for at in 0..16 {
            // SAFETY: in bounds, and nobody else looks there. Volatile: it was never written by this program.
            let word = unsafe { (&raw const (*noise)[at]).read_volatile() };
            hash = (hash ^ word).wrapping_mul(0x0100_0193).rotate_left(7);
        }
        hash ^= hash >> 15;
        // SAFETY: as above.
        unsafe { (&raw mut (*noise)[0]).write_volatile(hash) };
        hash
    }
}

/// 50 MHz from the crystal of 8 MHz: 400 MHz of the PLL, halved, by four. The order is that of the data sheet, 6.3.
fn clock() {
    const BYPASS: u32 = 1 << 11;
    const USE_DIVIDER: u32 = 1 << 22;
    const POWER_DOWN: u32 = 1 << 13;
    let mut rcc = (read(RCC) | BYPASS) & !USE_DIVIDER;
    write(RCC, rcc);
    // Crystal of 8 MHz, main oscillator on and chosen, PLL on.
    rcc = rcc & !(0xF << 6 | 0x3 << 4 | 1 | POWER_DOWN) | 0xE << 6;
    write(RCC, rcc);
    rcc = rcc & !(0xF << 23) | 3 << 23 | USE_DIVIDER;
    write(RCC, rcc);
    while read(RIS) & 1 << 6 == 0 {}
    write(RCC, rcc & !BYPASS);
}

/// PA0 and PA1 at 115200 baud, 8N1, with queues.
fn uart() {
    write(GPIO_A + 0x420, read(GPIO_A + 0x420) | 0b11);
    write(GPIO_A + 0x51C, read(GPIO_A + 0x51C) | 0b11);
    write(UART_0 + 0x30, 0);
    // 50 MHz / (16 × 115200) = 27 + 8/64.
    write(UART_0 + 0x24, 27);
    write(UART_0 + 0x28, 8);
    write(UART_0 + 0x2C, 0b11 << 5 | 1 << 4);
    write(UART_0 + 0x30, 1 << 9 | 1 << 8 | 1);
}

/// Timer 0 starts a conversion of ADC0 in sequencer 3 every period, without the program's help.
fn converter(period_ms: u32) {
    write(ADC_0, 0);
    write(ADC_0 + 0x14, 5 << 12);
    write(ADC_0 + 0xA0, 0);
    // One sample, which ends the sequence and raises its flag.
    write(ADC_0 + 0xA4, 0b0110);
    write(ADC_0, 1 << 3);
    write(TIMER_0 + 0x0C, 0);
    write(TIMER_0, 0);
    write(TIMER_0 + 0x04, 2);
    write(TIMER_0 + 0x28, period_ms * (CLOCK_HZ / 1_000) - 1);
    // Counts, and triggers the converter.
    write(TIMER_0 + 0x0C, 1 << 5 | 1);
}

fn read(register: u32) -> u32 {
    // SAFETY: called with the registers above alone, which are there on this chip and aligned.
    unsafe { (register as *const u32).read_volatile() }
}

fn write(register: u32, value: u32) {
    // SAFETY: as for `read`; none of them lets hardware write to memory.
    unsafe { (register as *mut u32).write_volatile(value) }
}

/// A sensor that stands still is worth nothing: it starts anew, and what is held is still there.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    cortex_m::peripheral::SCB::sys_reset()
}
