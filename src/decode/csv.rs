//! CSV (RFC 4180): a reading a line, its cells named by `columns` of the configuration.
//!
//! | a cell | becomes |
//! | --- | --- |
//! | that is a number | an integer where it is written as one, else a float |
//! | `true`, `false` | a bool |
//! | that is empty | nothing |
//! | any other | text as it came, without its quotes |
//!
//! A line that says the names of all columns is a header and passed over, wherever it stands: sensors write one at each
//! start. A column without a name is not read. A line with more or fewer cells is rejected alone: it may be cut. A quote that
//! is not closed takes the lines behind it with it.

use csv::{ByteRecord, ReaderBuilder};

use super::gather::{Gather, Scalar};
use super::{Fault, MAX_READINGS, Pass, raw};

pub(super) fn read(pass: &mut Pass<'_>, columns: &[String]) {
    let payload = pass.payload;
    let records = match records(payload, columns) {
        Ok(records) => records,
        Err(fault) => return pass.reject(payload, fault),
    };
    for (index, (line, record)) in records.iter().enumerate() {
        let outcome = walk(line, record, columns, pass.gather).map_err(|fault| Fault {
            detail: format!("line {} of {}: {}", index + 1, records.len(), fault.detail),
            ..fault
        });
        pass.take(outcome, line);
    }
}

/// The lines that are no header, each with its own bytes.
fn records<'p>(payload: &'p [u8], columns: &[String]) -> Result<Vec<(&'p [u8], ByteRecord)>, Fault> {
    // One byte more tells the reader of the end at its first look.
    let capacity = payload.len() + 1;
    let mut reader =
        ReaderBuilder::new().has_headers(false).flexible(true).buffer_capacity(capacity).from_reader(payload);
    let mut records = Vec::new();
    let mut record = ByteRecord::new();
    while reader.read_byte_record(&mut record).map_err(|error| Fault::malformed(error.to_string()))? {
        let start = record.position().map_or(0, csv::Position::byte) as usize;
        let line = &payload[start..reader.position().byte() as usize];
        if is_header(&record, columns) {
            continue;
        }
        if records.len() == MAX_READINGS {
            return Err(Fault::value(format!("more than {MAX_READINGS} readings; send several messages")));
        }
        records.push((trim_breaks(line), record.clone()));
    }
    if records.is_empty() { Err(Fault::empty("there is no line in it but a header")) } else { Ok(records) }
}

fn is_header(record: &ByteRecord, columns: &[String]) -> bool {
    record.len() == columns.len()
        && record.iter().zip(columns).all(|(cell, column)| cell.trim_ascii() == column.as_bytes() || column.is_empty())
}

fn trim_breaks(line: &[u8]) -> &[u8] {
    let is_break = |byte: &u8| b"\r\n".contains(byte);
    let start = line.iter().take_while(|byte| is_break(byte)).count();
    let end = line.iter().rev().take_while(|byte| is_break(byte)).count();
    &line[start..line.len() - end.min(line.len() - start)]
}

fn walk(line: &[u8], record: &ByteRecord, columns: &[String], gather: &mut Gather) -> Result<(), Fault> {
    gather.start();
    // The reader lets an open quote run to the end: lines would become the text of one cell.
    if line.split(|byte| *byte == b'"').count() % 2 == 0 {
        return Err(Fault::malformed("a quote is not closed".to_owned()));
    }
    if record.len() != columns.len() {
        let (cells, names) = (record.len(), columns.len());
        return Err(Fault::malformed(format!("{cells} cells, and columns has {names} names")));
    }
    for (cell, column) in record.iter().zip(columns).filter(|(cell, column)| !cell.is_empty() && !column.is_empty()) {
        let text = std::str::from_utf8(cell)
            .map_err(|_| Fault::malformed(format!("the cell of {} is not UTF-8", Scalar::Text(column).shown())))?;
        let mark = gather.enter(column, false);
        gather.put(match text.trim() {
            "true" => Scalar::Bool(true),
            "false" => Scalar::Bool(false),
            _ => raw::scalar(text),
        })?;
        gather.leave(&mark);
    }
    Ok(())
}
