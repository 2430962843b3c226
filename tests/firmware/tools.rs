//! What firmware is built with, and where it goes: beside what cargo builds.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// One build at a time, since tests share what they build; and the programs that this run has built already.
static BUILT: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

pub fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("firmware-examples").join(name)
}

pub fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/frames.txt")
}

/// A folder of `target/`.
pub fn out(name: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    target.join("firmware").join(name)
}

/// Whether commands and files are there. If not, which one is printed; in CI that is a failure.
pub fn there(wanted: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // A path from the root joined to a folder is itself.
    let found = |name: &str| std::env::split_paths(&path).any(|folder| folder.join(name).is_file());
    let missing = wanted.iter().find(|name| !found(name));
    if let Some(name) = missing {
        assert!(std::env::var_os("CI").is_none(), "{name} is missing");
        eprintln!("SKIPPED: no {name}; `bash tests/run` installs it");
    }
    missing.is_none()
}

/// Runs a command to its end, which must be a good one, and returns what it said.
pub fn run(command: &mut Command) -> String {
    let ended = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&ended.stdout).into_owned() + &String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{command:?}: {said}");
    said
}

/// Builds an example that has a Makefile, with these words for `make`, into a folder of its own.
pub fn make(name: &str, folder: &str, words: &[&str]) -> PathBuf {
    let _one = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    let out = out(folder);
    run(Command::new("make").arg("-C").arg(example(name)).arg(format!("OUT={}", out.display())).args(words));
    out
}

/// Builds the Rust example as Debian's compiler does, whose source of `core` is of its own version: rustup users need
/// neither of this. One reading in so many milliseconds.
pub fn cortex(period_ms: u32) -> PathBuf {
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    let out = out("rust-cortex-m");
    let program = out.join(format!("sensor-{period_ms}"));
    if built.contains(&program) {
        return program;
    }
    let mut command = Command::new("/usr/bin/cargo");
    // What cargo sets for this very test is about another compiler.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if (name.starts_with("CARGO") && name != "CARGO_HOME") || name.starts_with("RUST") {
            command.env_remove(name);
        }
    }
    command
        .args(["build", "--release", "--locked", "-Zbuild-std=core", "-Zbuild-std-features=compiler-builtins-mem"])
        .arg("--target-dir")
        .arg(&out)
        .current_dir(example("rust-cortex-m"))
        .env("RUSTC", "/usr/bin/rustc")
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_THUMBV7M_NONE_EABI_LINKER", "arm-none-eabi-ld")
        .env("PERIOD_MS", period_ms.to_string())
        .env("RESEND_MS", "200");
    run(&mut command);
    std::fs::copy(out.join("thumbv7m-none-eabi/release/sensor"), &program).unwrap();
    built.push(program.clone());
    program
}
