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
    for number in numbers.into_iter().filter(|number| *number > 2) {
        // SAFETY: no value in this process owns the number: it was inherited, or it was the listing's own above, which
        // is closed already, so that closing it again fails and does nothing. No other thread could have taken it.
        unsafe { rustix::io::close(number) };
    }
}
