//! Closing what a process inherited: the one thing here that needs `unsafe`.
#![allow(unsafe_code)]

use std::os::fd::RawFd;

/// Closes every descriptor above standard error. crux opens its own so that they end with an exec, but whoever started
/// crux may have left some open, and an instance must not find them.
///
/// Only the supervisor calls this, as its first act: it has one thread, and owns no descriptor yet.
pub(super) fn close_inherited() {
    let Ok(list) = std::fs::read_dir("/proc/self/fd") else { return };
    let numbers: Vec<RawFd> = list.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    // The listing's own descriptor was among them and is closed by now.
    let open = |number: &RawFd| std::fs::symlink_metadata(format!("/proc/self/fd/{number}")).is_ok();
    for number in numbers.into_iter().filter(|number| *number > 2).filter(open) {
        // SAFETY: no value in this process owns the number: it was inherited, and what this function opened itself is
        // closed. No other thread exists that could open or close one meanwhile.
        unsafe { rustix::io::close(number) };
    }
}
