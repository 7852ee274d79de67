//! The proof, on the host, that `crux-core` and all its dependencies do without the standard library: this staticlib
//! links it and brings its own panic handler and allocator. If any crate below pulled in `std`, there would be two
//! panic handlers, and the compiler would refuse to build this one.
//!
//! It is built, never run.
#![no_std]

use core::alloc::{GlobalAlloc, Layout};
use core::panic::PanicInfo;

// Named, so that it is linked even where nothing of it is called.
use crux_core as _;

/// An allocator that has no memory: enough to link `alloc`.
struct NoMemory;

// SAFETY: `alloc` may always report failure by returning null, and what was never given out is never given back.
unsafe impl GlobalAlloc for NoMemory {
    unsafe fn alloc(&self, _: Layout) -> *mut u8 {
        core::ptr::null_mut()
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

#[global_allocator]
static HEAP: NoMemory = NoMemory;

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}
