//! What the process denies itself before it reads a key: core dumps and being traced by others of its user.

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};
use std::io;

/// Sets the soft `RLIMIT_CORE` to 0 and makes the process not dumpable, so that no key reaches a file or a debugger. The
/// hard limit stays: instances inherit it, and their programs may want dumps. For every process that may hold a key: the
/// CA's and operators' too (F4).
///
/// # Errors
/// What the kernel said; the caller warns and goes on, for a container may forbid the calls.
pub fn no_dumps() -> io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), ..getrlimit(Resource::Core) })?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_may_raise_what_crux_denies_itself() {
        let before = getrlimit(Resource::Core);
        no_dumps().unwrap();
        assert_eq!(getrlimit(Resource::Core), Rlimit { current: Some(0), ..before });
        assert_eq!(rustix::process::dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
    }
}
