//! What the process denies itself before it reads a key: core dumps and being traced by others of its user.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use std::io;

/// Sets `RLIMIT_CORE` to 0 and makes the process not dumpable, so that no key reaches a file or a debugger.
///
/// # Errors
/// What the kernel said; the caller warns and goes on, for a container may forbid the calls.
pub(crate) fn no_dumps() -> io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}
