//! What glibc's allocator is told before the gateway runs, which halves what it takes behind a long outage.
//!
//! - `MALLOC_MMAP_THRESHOLD_`: glibc takes large blocks from the kernel and gives them back, until the first that is
//!   freed teaches it to keep such blocks for itself. sled asks for megabytes of zeros for each generation it opens and
//!   touches little of them: fresh from the kernel they cost nothing, kept and zeroed again they are resident. A fixed
//!   threshold keeps them fresh.
//! - `MALLOC_ARENA_MAX`: each thread else has memory of its own that the others cannot use once it is free.
//!
//! glibc reads these from the environment, once (mallopt(3)), so the process begins again with them set.

use std::os::unix::process::CommandExt;
use std::process::Command;

const SETTINGS: [(&str, &str); 2] = [("MALLOC_MMAP_THRESHOLD_", "131072"), ("MALLOC_ARENA_MAX", "1")];

/// Begins the process again, under the same number, where one of them is not set. Where that does not work it goes on
/// as it is, and takes more memory.
pub fn settle() {
    let unset = SETTINGS.into_iter().filter(|(name, _)| std::env::var_os(name).is_none());
    let unset: Vec<_> = unset.collect();
    if cfg!(not(target_env = "gnu")) || unset.is_empty() {
        return;
    }
    let mut args = std::env::args_os();
    if let (Ok(program), Some(called)) = (std::env::current_exe(), args.next()) {
        let error = Command::new(program).arg0(called).args(args).envs(unset).exec();
        tracing::debug!(%error, "the allocator keeps its own settings");
    }
}
