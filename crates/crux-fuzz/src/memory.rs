//! How much memory an input makes its reader hold: an allocator that counts, for the programs that fuzz.
//!
//! `unsafe` is needed to be an allocator at all. Each function passes its arguments unchanged to the system's allocator,
//! whose contract is the caller's; the counters beside it are plain numbers of one thread that allocate nothing.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

/// The system's allocator, counting for each thread. A program that wants [`peak`] names it as its global allocator.
pub struct Counting;

fn count(bytes: isize) {
    // A thread that is ending has no counters any more, and nobody asks it.
    let _ = HELD.try_with(|held| {
        held.set(held.get().wrapping_add(bytes));
        let _ = MOST.try_with(|most| most.set(most.get().max(held.get())));
    });
}

fn signed(bytes: usize) -> isize {
    isize::try_from(bytes).unwrap_or(isize::MAX)
}

unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(signed(layout.size()));
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(signed(layout.size()));
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both may be held for a moment.
        count(signed(size));
        let new = unsafe { System.realloc(at, layout, size) };
        count(-signed(layout.size()));
        new
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-signed(layout.size()));
        unsafe { System.dealloc(at, layout) }
    }
}

/// Runs this and answers how many bytes more than before this thread held at most; 0 where [`Counting`] is not the
/// program's allocator.
pub fn peak(work: impl FnOnce()) -> usize {
    let before = HELD.get();
    MOST.set(before);
    work();
    usize::try_from(MOST.get().wrapping_sub(before)).unwrap_or(0)
}
