//! The Modbus slave on the Uno, asked by a master by the book.

use std::time::{Duration, Instant};

use super::board::{Board, PATIENCE};
use super::line::Line;
use super::{avr, tools};

/// The slave, built with these words.
pub fn slave(words: &[&str], folder: &str) -> Option<Board> {
    tools::there(avr::TOOLS).then(|| Board::uno(&tools::make("avr-modbus", folder, words).join("slave.elf")))
}

/// After so long nothing comes any more, on a machine with other things to do as well.
const SILENCE: Duration = Duration::from_millis(500);

struct Master {
    line: Line,
    unit: u8,
}

impl Master {
    /// Asks, as masters do, until the slave is awake.
    fn attach(board: &Board, unit: u8) -> Self {
        let mut master = Self { line: Line::open(&board.port), unit };
        for attempt in 0..PATIENCE.as_secs() {
            master.send(unit, &[4, 0, 6, 0, 2]);
            if master.answer(Duration::from_secs(1)).is_some() {
                // One that was asked before may still answer.
                while attempt > 0 && !master.line.read(Instant::now() + SILENCE).is_empty() {}
                return master;
            }
        }
        panic!("the slave does not wake");
    }

    /// How many requests were answered, and how many frames were broken.
    fn counts(&mut self) -> (u16, u16) {
        let counts = self.read(4, 6, 2).unwrap();
        (counts[0], counts[1])
    }

    /// What the slave answers to a request: the answer without unit and checksum, or the code of an exception.
    fn ask(&mut self, request: &[u8]) -> Result<Vec<u8>, u8> {
        self.send(self.unit, request);
        let answer = self.answer(PATIENCE).unwrap_or_else(|| panic!("no answer to {request:02x?}"));
        assert_eq!((answer[0], answer[1] & 0x7F), (self.unit, request[0]), "{answer:02x?}");
        if answer[1] & 0x80 == 0 { Ok(answer[1..].to_vec()) } else { Err(answer[2]) }
    }

    fn send(&mut self, unit: u8, request: &[u8]) {
        let frame = [&[unit], request].concat();
        self.line.write(&[&frame[..], &crc(&frame).to_le_bytes()].concat());
    }

    /// A whole frame, without its checksum.
    fn answer(&mut self, patience: Duration) -> Option<Vec<u8>> {
        let until = Instant::now() + patience;
        let mut bytes = Vec::new();
        while Instant::now() < until {
            bytes.extend(self.line.read(until));
            if bytes.len() >= 4 && crc(&bytes) == 0 {
                bytes.truncate(bytes.len() - 2);
                return Some(bytes);
            }
        }
        assert!(bytes.is_empty(), "not a frame: {bytes:02x?}");
        None
    }

    fn read(&mut self, function: u8, address: u16, count: u16) -> Result<Vec<u16>, u8> {
        let [[a, b], [c, d]] = [address.to_be_bytes(), count.to_be_bytes()];
        let answer = self.ask(&[function, a, b, c, d])?;
        assert_eq!(usize::from(answer[1]), 2 * usize::from(count), "{answer:02x?}");
        assert_eq!(answer.len(), 2 + usize::from(answer[1]));
        Ok(answer[2..].chunks(2).map(|word| u16::from_be_bytes([word[0], word[1]])).collect())
    }

    fn write(&mut self, address: u16, values: &[u16]) -> Result<Vec<u8>, u8> {
        let words: Vec<u8> = values.iter().flat_map(|value| value.to_be_bytes()).collect();
        let [[a, b], [c, d]] = [address.to_be_bytes(), (values.len() as u16).to_be_bytes()];
        self.ask(&[&[16, a, b, c, d, words.len() as u8], &words[..]].concat())
    }
}

/// CRC-16/MODBUS.
fn crc(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xFFFF, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xA001 } else { crc >> 1 })
    })
}

#[test]
fn the_check_value_is_that_of_the_catalogue() {
    assert_eq!(crc(b"123456789"), 0x4B37);
}

#[test]
fn input_registers_hold_what_was_fed() {
    let Some(mut board) = slave(&[], "avr-modbus") else { return };
    let mut master = Master::attach(&board, 1);
    for fed in [0, 712, 2_500, 5_000] {
        board.voltage(0, fed);
        board.voltage(1, 5_000 - fed);
        let read = master.read(4, 0, 8).unwrap();
        assert!(read[0].abs_diff(fed) <= 10 && read[1].abs_diff(5_000 - fed) <= 10, "{fed} mV are {read:?}");
        let volts = f32::from_bits(u32::from(read[4]) << 16 | u32::from(read[5]));
        assert!((volts - f32::from(read[0]) / 1000.0).abs() < 0.01, "{volts} of {read:?}");
        assert_eq!(master.read(4, 1, 1).unwrap(), [read[1]]);
    }
    let until = Instant::now() + PATIENCE;
    while master.read(4, 2, 2).unwrap() < vec![0, 2] {
        assert!(Instant::now() < until, "seconds pass");
    }
}

#[test]
fn holding_registers_are_written_whole_or_not_at_all() {
    let Some(mut board) = slave(&[], "avr-modbus") else { return };
    board.voltage(0, 1_000);
    let mut master = Master::attach(&board, 1);
    assert_eq!(master.read(3, 0, 2), Ok(vec![0, 4]));
    assert_eq!(master.ask(&[6, 0, 1, 0, 64]), Ok(vec![6, 0, 1, 0, 64]), "said back");
    assert_eq!(master.write(0, &[(-200_i16).cast_unsigned(), 8]), Ok(vec![16, 0, 0, 0, 2]));
    assert_eq!(master.read(3, 0, 2), Ok(vec![0xFF38, 8]));
    let read = master.read(4, 0, 1).unwrap()[0];
    assert!(read.abs_diff(800) <= 10, "{read} mV, 200 below what was fed");
    assert_eq!(master.write(0, &[50, 65]), Err(3), "65 samples are too many");
    assert_eq!(master.read(3, 0, 2), Ok(vec![0xFF38, 8]), "the first was not written either");
    // To all, who do it and say nothing.
    master.send(0, &[6, 0, 1, 0, 2]);
    assert_eq!(master.answer(SILENCE), None);
    assert_eq!(master.read(3, 1, 1), Ok(vec![2]));
}

#[test]
fn what_cannot_be_done_is_an_exception() {
    let Some(board) = slave(&[], "avr-modbus") else { return };
    let mut master = Master::attach(&board, 1);
    let cases: &[(&[u8], u8, &str)] = &[
        (&[1, 0, 0, 0, 1], 1, "there are no coils"),
        (&[43, 14, 1, 0], 1, "no identification"),
        (&[4, 0, 8, 0, 1], 2, "one behind the last"),
        (&[4, 0, 7, 0, 2], 2, "the last and one more"),
        (&[4, 0xFF, 0xFF, 0, 2], 2, "round the end"),
        (&[3, 0, 2, 0, 1], 2, "holding registers are two"),
        (&[6, 0, 2, 0, 1], 2, "writing as well"),
        (&[4, 0, 0, 0, 0], 3, "none"),
        (&[4, 0, 0, 0, 126], 3, "too many"),
        (&[4, 0, 0, 0], 3, "a byte too few"),
        (&[16, 0, 0, 0, 1, 3, 0, 0, 0], 3, "a count that lies"),
        (&[6, 0, 1, 0, 0], 3, "no samples"),
    ];
    for (request, exception, why) in cases {
        assert_eq!(master.ask(request), Err(*exception), "{why}");
    }
}

#[test]
fn a_frame_that_is_broken_or_for_another_is_answered_by_nothing() {
    let Some(board) = slave(&["UNIT=17", "BAUD=115200", "NO_PARITY=1"], "avr-modbus-17") else { return };
    let mut master = Master::attach(&board, 17);
    let (answered, broken) = master.counts();
    master.send(1, &[4, 0, 0, 0, 1]);
    assert_eq!(master.answer(SILENCE), None, "for unit 1");
    master.line.write(&[17, 4, 0, 0, 0, 1, 0x12, 0x34]);
    assert_eq!(master.answer(SILENCE), None, "a wrong checksum");
    master.line.write(&[0x55; 260]);
    assert_eq!(master.answer(2 * SILENCE), None, "longer than a frame can be");
    // A pause inside a frame is the end of one, and the rest is another: neither is whole.
    let frame = [17, 4, 0, 0, 0, 1];
    let whole = [&frame[..], &crc(&frame).to_le_bytes()].concat();
    master.line.write(&whole[..4]);
    assert_eq!(master.answer(SILENCE), None);
    master.line.write(&whole[4..]);
    assert_eq!(master.answer(SILENCE), None, "cut in two");
    assert_eq!(master.counts(), (answered + 1, broken + 4), "none was answered, four were broken");
}

#[test]
fn the_slave_answers_every_one_of_300_requests() {
    let Some(mut board) = slave(&["BAUD=115200"], "avr-modbus-fast") else { return };
    board.voltage(0, 3_000);
    let mut master = Master::attach(&board, 1);
    let (answered, broken) = master.counts();
    for _ in 0..300 {
        assert!(master.read(4, 0, 1).unwrap()[0].abs_diff(3_000) <= 10);
    }
    assert_eq!(master.counts(), (answered + 301, broken));
}
