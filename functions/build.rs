//! How a release for Lambda is linked, whoever builds it: by `make`, by `sam build` or by
//! cargo-lambda alone.
//!
//! - To a fixed address, as Go's programs are: no cold start corrects 30,000 addresses, and the
//!   zip is 5 % smaller. Heap, stack and libraries keep their random addresses; the program's own
//!   is given up, whose code is Rust without `unsafe` of ours.
//! - Without unwind tables: with `panic = "abort"` only a backtrace reads them, which is empty in
//!   a stripped program anyway, and they would be a tenth of the zip. The compiler has no option
//!   for it that reaches the standard library; the linker has.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=release.ld");
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|found| found == value);
    if is("PROFILE", "release") && is("CARGO_CFG_TARGET_OS", "linux") {
        let directory = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
        println!("cargo::rustc-link-arg-bins=-no-pie");
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{directory}/release.ld");
    }
}
