//! Frames of a serial line: readings out, acknowledgements back.
//!
//! ```text
//! line  = * (COBS(frame) 00)
//! frame = kind u8 | seq u16 | payload | crc u16                little endian
//! ```
//!
//! | kind | from | payload |
//! | --- | --- | --- |
//! | 01 DATA | sensor | a reading, in the source's format |
//! | 02 ACK | gateway | none; `seq` is that of a DATA now on stable storage, or of a HELLO |
//! | 03 HELLO | sensor | boot nonce u32, device name in UTF-8; sent at boot until it is acknowledged |
//!
//! COBS (Cheshire and Baker, IEEE/ACM Transactions on Networking 7:2, 1999) keeps 00 for the end of a frame, so a
//! reader that comes in the middle, or after noise, is in step again at the next one. The checksum is CRC-16/X-25 (also
//! called IBM-SDLC; the check value of "123456789" is 906E) over all before it.
//!
//! Nothing here allocates: frames are written into the caller's buffer and read where they lie.
//!
//! Invariants:
//! - what `encode` wrote, `decode` gives back;
//! - other bytes are refused with a reason, never with a panic;
//! - a [`Deframer`] loses no more than the frame that is broken.

mod cobs;
mod crc;
mod deframer;

pub use deframer::Deframer;

/// Kind, sequence number and checksum.
const AROUND: usize = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    Data = 1,
    Ack = 2,
    Hello = 3,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    pub kind: Kind,
    pub seq: u16,
    pub payload: &'a [u8],
}

/// Bytes between two ends that are not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Not COBS: a piece says that it goes on behind the end.
    Cut,
    /// Less than a kind, a number and a checksum.
    Short,
    Checksum,
    /// Of a kind that is not known.
    Kind(u8),
    /// More than the buffer holds.
    Long,
}

/// What a HELLO says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello<'a> {
    /// Drawn at each boot: sequence numbers begin at its low 16 bits.
    pub boot_nonce: u32,
    pub device: &'a str,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        [Self::Data, Self::Ack, Self::Hello].into_iter().find(|kind| *kind as u8 == byte)
    }
}

impl<'a> Frame<'a> {
    /// What a frame with so long a payload takes on the line at most, its end included.
    #[must_use]
    pub const fn encoded_max(payload: usize) -> usize {
        cobs::encoded_max(payload + AROUND) + 1
    }

    /// Writes the frame and its end, and says how many bytes that took; `None` where the buffer is too small.
    pub fn encode(&self, out: &mut [u8]) -> Option<usize> {
        let mut writer = cobs::Writer::new(out)?;
        let mut crc = crc::Crc::default();
        let [low, high] = self.seq.to_le_bytes();
        for part in [&[self.kind as u8, low, high], self.payload] {
            crc.add(part);
            writer.put(part)?;
        }
        writer.put(&crc.value().to_le_bytes())?;
        writer.end()
    }

    /// Reads what lies between two ends, in place: the bytes are no longer COBS afterwards.
    pub fn decode(bytes: &'a mut [u8]) -> Result<Self, Fault> {
        let length = cobs::decode(bytes).ok_or(Fault::Cut)?;
        let Some((inside, told)) = bytes[..length].split_last_chunk::<2>() else { return Err(Fault::Short) };
        let Some(([kind, low, high], payload)) = inside.split_first_chunk::<3>() else { return Err(Fault::Short) };
        let mut crc = crc::Crc::default();
        crc.add(inside);
        if crc.value() != u16::from_le_bytes(*told) {
            return Err(Fault::Checksum);
        }
        let kind = Kind::of(*kind).ok_or(Fault::Kind(*kind))?;
        Ok(Self { kind, seq: u16::from_le_bytes([*low, *high]), payload })
    }
}

impl<'a> Hello<'a> {
    /// Writes the payload of a HELLO, and says how many bytes that took; `None` where the buffer is too small.
    pub fn write(&self, out: &mut [u8]) -> Option<usize> {
        let (nonce, name) = out.split_first_chunk_mut::<4>()?;
        *nonce = self.boot_nonce.to_le_bytes();
        name.get_mut(..self.device.len())?.copy_from_slice(self.device.as_bytes());
        Some(4 + self.device.len())
    }

    /// `None` where the payload is too short, or its name is not UTF-8.
    #[must_use]
    pub fn read(payload: &'a [u8]) -> Option<Self> {
        let (nonce, name) = payload.split_first_chunk::<4>()?;
        Some(Self { boot_nonce: u32::from_le_bytes(*nonce), device: core::str::from_utf8(name).ok()? })
    }
}
