//! Leaves the unwind tables out of a release: with `panic = "abort"` only a
//! backtrace reads them, which is empty in a stripped program anyway, and they
//! would be a tenth of the zip. The compiler has no option for it that reaches the
//! standard library; the linker has.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=release.ld");
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|found| found == value);
    if is("PROFILE", "release") && is("CARGO_CFG_TARGET_OS", "linux") {
        let directory = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{directory}/release.ld");
    }
}
