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

use csv_core::{ReadRecordResult, Reader};

use super::gather::{Gather, Scalar};
use super::{Fault, MAX_READINGS, Pass, raw};

/// Reads the lines of one subscription; its tables are costly to build, and kept.
pub(super) struct Lines {
    columns: Vec<String>,
    reader: Reader,
    /// The cells of all lines, one behind the other, without quotes.
    text: Vec<u8>,
    /// Where each cell ends, counted from the first of its line.
    ends: Vec<usize>,
}

/// One line: its bytes, and its cells' places in `text` and in `ends`.
struct Line<'p> {
    bytes: &'p [u8],
    text: usize,
    ends: std::ops::Range<usize>,
}

impl Lines {
    pub(super) fn new(columns: Vec<String>) -> Self {
        Self { columns, reader: Reader::new(), text: Vec::new(), ends: Vec::new() }
    }

    pub(super) fn read(&mut self, pass: &mut Pass<'_>) {
        let payload = pass.payload;
        let lines = match self.lines(payload) {
            Ok(lines) => lines,
            Err(fault) => return pass.reject(payload, fault),
        };
        for (index, line) in lines.iter().enumerate() {
            let outcome = self.walk(line, pass.gather).map_err(|fault| Fault {
                detail: format!("line {} of {}: {}", index + 1, lines.len(), fault.detail),
                ..fault
            });
            pass.take(outcome, line.bytes);
        }
    }

    /// The lines that are no header.
    fn lines<'p>(&mut self, payload: &'p [u8]) -> Result<Vec<Line<'p>>, Fault> {
        self.reader.reset();
        // What is read is no longer than the payload, and has no more cells than it has bytes and an end.
        self.text.resize(payload.len(), 0);
        self.ends.resize(payload.len() + 1, 0);
        let (mut read, mut text, mut ends) = (0, 0, 0);
        let mut lines = Vec::new();
        loop {
            let mut line = Line { bytes: &payload[read..], text, ends: ends..ends };
            let result = loop {
                let (result, took, wrote, cells) =
                    self.reader.read_record(&payload[read..], &mut self.text[text..], &mut self.ends[ends..]);
                (read, text, ends) = (read + took, text + wrote, ends + cells);
                // After the last byte it is asked once more, for what it holds back.
                if result != ReadRecordResult::InputEmpty {
                    break result;
                }
            };
            match result {
                ReadRecordResult::Record => {}
                ReadRecordResult::End => break,
                full => return Err(Fault::malformed(format!("the reader says {full:?}"))),
            }
            line.ends.end = ends;
            line.bytes = trim_breaks(&line.bytes[..line.bytes.len() - (payload.len() - read)]);
            if self.is_header(&line) {
                continue;
            }
            if lines.len() == MAX_READINGS {
                return Err(Fault::value(format!("more than {MAX_READINGS} readings; send several messages")));
            }
            lines.push(line);
        }
        if lines.is_empty() { Err(Fault::empty("there is no line in it but a header")) } else { Ok(lines) }
    }

    fn cells(&self, line: &Line<'_>) -> impl Iterator<Item = &[u8]> {
        let ends = &self.ends[line.ends.clone()];
        let text = &self.text[line.text..];
        (0..ends.len()).map(move |n| &text[if n == 0 { 0 } else { ends[n - 1] }..ends[n]])
    }

    fn is_header(&self, line: &Line<'_>) -> bool {
        let names = |(cell, column): (&[u8], &String)| cell.trim_ascii() == column.as_bytes() || column.is_empty();
        line.ends.len() == self.columns.len() && self.cells(line).zip(&self.columns).all(names)
    }

    fn walk(&self, line: &Line<'_>, gather: &mut Gather) -> Result<(), Fault> {
        gather.start();
        // The reader lets an open quote run to the end: lines would become the text of one cell.
        if line.bytes.split(|byte| *byte == b'"').count() % 2 == 0 {
            return Err(Fault::malformed("a quote is not closed".to_owned()));
        }
        let (cells, names) = (line.ends.len(), self.columns.len());
        if cells != names {
            return Err(Fault::malformed(format!("{cells} cells, and columns has {names} names")));
        }
        for (cell, column) in self.cells(line).zip(&self.columns) {
            if cell.is_empty() || column.is_empty() {
                continue;
            }
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
}

fn trim_breaks(line: &[u8]) -> &[u8] {
    let is_break = |byte: &u8| b"\r\n".contains(byte);
    let start = line.iter().take_while(|byte| is_break(byte)).count();
    let end = line.iter().rev().take_while(|byte| is_break(byte)).count();
    &line[start..line.len() - end.min(line.len() - start)]
}
