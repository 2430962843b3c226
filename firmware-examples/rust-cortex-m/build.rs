//! The linker finds `memory.x` beside this file, wherever cargo was called.

fn main() {
    println!("cargo::rustc-link-search={}", std::env::var("CARGO_MANIFEST_DIR").unwrap());
    println!("cargo::rerun-if-changed=memory.x");
    println!("cargo::rerun-if-env-changed=PERIOD_MS");
    println!("cargo::rerun-if-env-changed=RESEND_MS");
    println!("cargo::rerun-if-env-changed=DEVICE");
}
