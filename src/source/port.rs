//! Serial ports: found by a path or by a pattern, and opened. The one place that knows how.
//!
//! A port is ours alone while it is open. A pseudo-terminal is not: there the kernel would keep the mark of a process
//! that was killed, for as long as the other end lives, and let nobody in again.

use std::path::PathBuf;

use tokio_serial::{
    DataBits, ErrorKind, FlowControl as Flow, Parity as Bit, SerialPortBuilderExt, SerialStream, StopBits,
};

use crate::config::{FlowControl, Line, Parity};

/// Why a port is not open, and what would put it right.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    #[error("there is no {0}; plug the device in, or correct `port`")]
    Absent(String),
    #[error("no device fits {0}; plug it in, or correct `port`")]
    None(String),
    #[error("{count} devices fit {pattern}: {found}; write a pattern, or a path, that only one of them has")]
    Several { pattern: String, count: usize, found: String },
    #[error("{0} cannot be opened by this user; add the user to the group that owns the device, mostly `dialout`")]
    Denied(String),
    #[error("{0} is in use by another program; stop that, or name another port")]
    Busy(String),
    #[error("{path} cannot be set up: {why}; check that it is a serial device, and `baud` and the like")]
    Other { path: String, why: String },
}

/// Whether a text can be a port: `Err` says what is wrong with the pattern.
pub fn check_pattern(port: &str) -> Result<(), &'static str> {
    glob::Pattern::new(port).map(drop).map_err(|error| error.msg)
}

/// Opens the port that a path names, or the only one that a pattern fits; says which it was.
pub fn open(port: &str, line: &Line) -> Result<(SerialStream, String), PortError> {
    let path = find(port)?;
    let shown = path.display().to_string();
    let is_pseudo = std::fs::canonicalize(&path).is_ok_and(|real| real.starts_with("/dev/pts"));
    let builder = tokio_serial::new(&*shown, line.baud)
        .data_bits(match line.data_bits {
            5 => DataBits::Five,
            6 => DataBits::Six,
            7 => DataBits::Seven,
            _ => DataBits::Eight,
        })
        .parity(match line.parity {
            Parity::None => Bit::None,
            Parity::Odd => Bit::Odd,
            Parity::Even => Bit::Even,
        })
        .stop_bits(if line.stop_bits == 2 { StopBits::Two } else { StopBits::One })
        .flow_control(match line.flow_control {
            FlowControl::None => Flow::None,
            FlowControl::Software => Flow::Software,
            FlowControl::Hardware => Flow::Hardware,
        })
        .exclusive(!is_pseudo);
    match builder.open_native_async() {
        Ok(stream) => Ok((stream, shown)),
        Err(error) => Err(match error.kind {
            ErrorKind::Io(std::io::ErrorKind::NotFound) => PortError::Absent(shown),
            ErrorKind::Io(std::io::ErrorKind::PermissionDenied) => PortError::Denied(shown),
            ErrorKind::NoDevice => PortError::Busy(shown),
            _ => PortError::Other { path: shown, why: error.description },
        }),
    }
}

fn find(port: &str) -> Result<PathBuf, PortError> {
    if !port.contains(['*', '?', '[']) {
        return Ok(port.into());
    }
    // A directory that cannot be read holds nothing for us.
    let mut found: Vec<_> = glob::glob(port).into_iter().flatten().filter_map(Result::ok).collect();
    match found.len() {
        0 => Err(PortError::None(port.to_owned())),
        1 => Ok(found.remove(0)),
        count => {
            let found: Vec<_> = found.iter().take(8).map(|path| path.display().to_string()).collect();
            Err(PortError::Several { pattern: port.to_owned(), count, found: found.join(", ") })
        }
    }
}
