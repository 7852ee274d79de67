//! libFuzzer drives one target of `crux-fuzz`, named by the environment, so that no list of targets can go stale here:
//!
//! ```text
//! CRUX_FUZZ_TARGET=frame cargo +nightly fuzz run one ../crates/crux-fuzz/corpus/frame
//! ```
#![no_main]

use crux_fuzz::drive::Target;
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("CRUX_FUZZ_TARGET").unwrap_or_default();
    crux_fuzz::named(&name).unwrap_or_else(|| {
        let all: Vec<&str> = crux_fuzz::all().iter().map(|target| target.name).collect();
        panic!("CRUX_FUZZ_TARGET={name:?} is no target; there are: {}", all.join(", "))
    })
});

fuzz_target!(|data: &[u8]| (TARGET.run)(data));
