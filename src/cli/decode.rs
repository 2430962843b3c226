//! `decode`: what a Kinesis record holds, as lines of JSON.
//!
//! The input is taken for what it looks like: the bytes of a record, base64 text (one record a line, or one wrapped
//! over lines), or JSON with records in it: a Lambda event, the answer of `GetRecords`, a Firehose event.

use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;

use crate::batch::read::{ReadError, read_record};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tidegate decode event.json | jq .fields
  aws kinesis get-records --shard-iterator \"$ITERATOR\" | tidegate decode
  echo 2dn3… | tidegate decode")]
pub struct Args {
    /// Records: raw, base64 (one a line, or wrapped), a Lambda event; none or `-`: standard input
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Why one payload is not printed.
#[derive(Debug, thiserror::Error)]
enum Bad {
    #[error("not base64: {0}")]
    Base64(#[from] base64::DecodeError),
    #[error(transparent)]
    Record(#[from] ReadError),
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let stdin = PathBuf::from("-");
    let files = if args.files.is_empty() { vec![stdin.clone()] } else { args.files };
    let mut out = BufWriter::new(io::stdout().lock());
    let mut err = io::stderr().lock();
    let mut good = true;
    for file in files {
        let (name, input) = if file == stdin {
            ("standard input".into(), read_stdin())
        } else {
            (file.display().to_string(), read(&file))
        };
        let outcome = input.and_then(|input| decode(&name, &input, &mut out, &mut err));
        good &= match outcome {
            // Whoever reads the pipe has seen enough.
            Err(error) if is_closed_pipe(&error) => return Ok(ExitCode::SUCCESS),
            Err(error) => {
                writeln!(err, "{error:#}")?;
                false
            }
            Ok(all) => all,
        };
    }
    match out.flush() {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error.into()),
        _ => {}
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn read_stdin() -> anyhow::Result<Vec<u8>> {
    let mut input = Vec::new();
    io::stdin().lock().read_to_end(&mut input).context("cannot read standard input")?;
    Ok(input)
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Prints the readings of every payload; names the bad ones and says whether there was none.
fn decode(name: &str, input: &[u8], out: &mut impl Write, err: &mut impl Write) -> anyhow::Result<bool> {
    let payloads = payloads(input).with_context(|| name.to_owned())?;
    let count = payloads.len();
    let mut good = true;
    for (index, payload) in payloads.into_iter().enumerate() {
        match payload.and_then(|payload| Ok(read_record(&payload)?)) {
            Ok(record) => {
                for line in record.lines() {
                    serde_json::to_writer(&mut *out, &line).map_err(io::Error::from)?;
                    out.write_all(b"\n")?;
                }
            }
            Err(bad) => {
                good = false;
                writeln!(err, "{name}: payload {} of {count}: {bad}", index + 1)?;
            }
        }
    }
    Ok(good)
}

/// The payloads of one input, each as good as it is.
fn payloads(input: &[u8]) -> anyhow::Result<Vec<Result<Vec<u8>, Bad>>> {
    let Ok(text) = std::str::from_utf8(input) else { return Ok(vec![Ok(input.to_vec())]) };
    let text = text.trim();
    anyhow::ensure!(!text.is_empty(), "there is nothing in it");
    if text.starts_with('{') {
        return event(text);
    }
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if is_wrapped(&lines) {
        return Ok(vec![BASE64.decode(lines.concat()).map_err(Bad::from)]);
    }
    Ok(lines.iter().map(|line| BASE64.decode(line).map_err(Bad::from)).collect())
}

/// Whether the lines are one text that was wrapped: all of one length but the last, and only the first begins as a
/// record does.
fn is_wrapped(lines: &[&str]) -> bool {
    /// D9 D9 F7
    const MAGIC: &str = "2dn3";
    let [first, middle @ .., last] = lines else { return false };
    first.starts_with(MAGIC)
        && !middle.iter().chain([last]).any(|line| line.starts_with(MAGIC))
        && middle.iter().all(|line| line.len() == first.len())
        && last.len() <= first.len()
}

/// `{"Records":[{"kinesis":{"data":…}}]}` of Lambda, `{"Records":[{"Data":…}]}` of `GetRecords`,
/// `{"records":[{"data":…}]}` of Firehose.
#[derive(Deserialize)]
struct Event {
    #[serde(rename = "Records", alias = "records")]
    records: Vec<Record>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Record {
    Lambda { kinesis: Data },
    Bare(Data),
}

#[derive(Deserialize)]
struct Data {
    #[serde(alias = "Data")]
    data: String,
}

fn event(text: &str) -> anyhow::Result<Vec<Result<Vec<u8>, Bad>>> {
    let events: Vec<Event> = serde_json::Deserializer::from_str(text)
        .into_iter()
        .collect::<Result<_, _>>()
        .context("this JSON is no event with Records[].kinesis.data; give records, base64 of them, or such an event")?;
    let data = events.into_iter().flat_map(|event| event.records).map(|record| match record {
        Record::Lambda { kinesis } => kinesis.data,
        Record::Bare(data) => data.data,
    });
    Ok(data.map(|data| BASE64.decode(data).map_err(Bad::from)).collect())
}

#[cfg(test)]
mod tests {
    use tidegate_wire::Codec;

    use super::*;
    use crate::batch::read::tests::{LINES, record};

    /// Output, errors, and whether all was well.
    fn decoded(input: impl AsRef<[u8]>) -> (String, String, bool) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let good = decode("file", input.as_ref(), &mut out, &mut err).unwrap();
        (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap(), good)
    }

    fn base64() -> String {
        BASE64.encode(record(Codec::Zstd))
    }

    fn wrapped(text: &str) -> String {
        text.as_bytes().chunks(76).map(|line| std::str::from_utf8(line).unwrap().to_owned() + "\n").collect()
    }

    #[test]
    fn each_kind_of_input_gives_its_lines() {
        let one = base64();
        let table = [
            (record(Codec::None), 1),
            (record(Codec::Zstd), 1),
            (one.clone().into(), 1),
            (format!("{one}\r\n\r\n{one}\n{one}").into(), 3),
            (wrapped(&one).into(), 1),
            (format!(r#"{{"Records":[{{"kinesis":{{"data":"{one}","partitionKey":"k"}},"eventID":"x"}}]}}"#).into(), 1),
            (format!(r#"{{"Records":[{{"Data":"{one}"}},{{"Data":"{one}"}}],"NextShardIterator":"x"}}"#).into(), 2),
            (format!(r#"{{"records":[{{"recordId":"1","data":"{one}"}}]}}"#).into(), 1),
            (br#" {"Records":[]}"#.to_vec(), 0),
            // A log of events, one a line.
            (format!("{{\"Records\":[{{\"kinesis\":{{\"data\":\"{one}\"}}}}]}}\n").repeat(3).into(), 3),
        ];
        for (input, times) in table {
            assert_eq!(
                decoded(&input),
                (LINES.repeat(times), String::new(), true),
                "{:?}",
                String::from_utf8_lossy(&input)
            );
        }
    }

    #[test]
    fn a_bad_payload_is_named_with_its_place_and_the_rest_goes_on() {
        let one = base64();
        let (out, err, good) = decoded(format!("{one}\n{}\n%%\naGVsbG8=\n{one}\n", &one[..40]));
        assert_eq!((out, good), (LINES.repeat(2), false));
        let named: Vec<_> = err.lines().collect();
        assert_eq!(named.len(), 3, "{err}");
        assert!(named[0].starts_with("file: payload 2 of 5: "), "{err}");
        assert!(named[1].starts_with("file: payload 3 of 5: not base64: "), "{err}");
        assert_eq!(
            named[2],
            "file: payload 4 of 5: this is something else, not a record in the columns format (D9 D9 F7 …)"
        );
    }

    #[test]
    fn input_that_holds_no_payload_is_an_error_with_the_remedy() {
        let error =
            |input: &[u8]| format!("{:#}", decode("file", input, &mut io::sink(), &mut io::sink()).unwrap_err());
        assert_eq!(error(b" \n"), "file: there is nothing in it");
        assert!(error(br#"{"temp":1}"#).starts_with("file: this JSON is no event with Records[].kinesis.data; give"));
    }
}
