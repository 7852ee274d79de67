//! Looking for fulcrums where nobody said that there is one: networks and lists to search, and announcements on the local
//! link. What is found is only an address to knock at; who is there shows its certificate or is nobody.
//!
//! | file | subject |
//! |---|---|
//! | `source` | what `--probe` takes: networks and files |
//! | `sweep` | going through them again and again, at a bounded pace |
//! | `nowhere` | names of lists that lead nowhere now |
//! | `announcement` | the 64 bytes that a fulcrum says on the local link |
//! | `multicast` | saying and hearing them on every interface |
//! | `fuzz` | any bytes at all |

mod announcement;
pub(crate) mod fuzz;
mod multicast;
mod nowhere;
mod source;
mod sweep;

pub(crate) use multicast::Multicast;
pub(crate) use nowhere::{Lost, Names, Nowhere};
pub(crate) use source::Source;
pub(crate) use sweep::sweep;

/// How many addresses may wait for the heart: it dials a few a second.
pub(crate) const WAITING: usize = 16;
