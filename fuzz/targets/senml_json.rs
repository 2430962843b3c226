#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_fuzz::decode::Format;

fuzz_target!(|bytes: &[u8]| tidegate_fuzz::payload(Format::SenmlJson, "sensors/a", bytes));
