//! A line cut into portions: the first byte says how large they are.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_wire::frame::{Deframer, Frame, Kind};

const BUFFER: usize = 512;

fuzz_target!(|bytes: &[u8]| {
    let Some((portion, noise)) = bytes.split_first() else { return };
    let mut line = noise.to_vec();
    // Whatever came before, the frame behind the next end is read.
    let known = Frame { kind: Kind::Data, seq: 7, payload: b"known" };
    let mut encoded = [0; Frame::encoded_max(5)];
    let length = known.encode(&mut encoded).expect("there is room");
    line.push(0);
    line.extend(&encoded[..length]);

    let whole = read(&line, line.len());
    assert_eq!(whole.last(), Some(&Ok((Kind::Data as u8, 7, b"known".to_vec()))));
    assert_eq!(read(&line, usize::from(*portion).max(1)), whole, "how it is cut makes no difference");
    let ends = line.iter().filter(|byte| **byte == 0).count();
    assert!(whole.len() <= ends, "no more than one to each end");
});

type Read = Result<(u8, u16, Vec<u8>), String>;

fn read(line: &[u8], portion: usize) -> Vec<Read> {
    let mut deframer = Deframer::<BUFFER>::default();
    let mut frames = Vec::new();
    for mut portion in line.chunks(portion) {
        while let Some(frame) = deframer.next(&mut portion) {
            frames.push(match frame {
                Ok(frame) => {
                    assert!(frame.payload.len() < BUFFER);
                    let mut again = vec![0; Frame::encoded_max(frame.payload.len())];
                    assert!(frame.encode(&mut again).is_some(), "what was read can be written");
                    Ok((frame.kind as u8, frame.seq, frame.payload.to_vec()))
                }
                Err(fault) => Err(format!("{fault:?}")),
            });
        }
    }
    frames
}
