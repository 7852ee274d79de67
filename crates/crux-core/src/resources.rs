//! Cores, memory and disk: what a fulcrum has, what an instance asks for, and what a horde's quota allows, in one form.
//!
//! A zero says nothing: an ask of none, a quota without a limit, a capacity that could not be measured.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use prost::Message;

/// An amount of each.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Message)]
pub struct Resources {
    /// Thousandths of a core.
    #[prost(uint64, tag = "1")]
    pub cpu_milli: u64,
    /// Bytes of memory.
    #[prost(uint64, tag = "2")]
    pub memory: u64,
    /// Bytes of the file system that holds the state.
    #[prost(uint64, tag = "3")]
    pub disk: u64,
}

/// The names of the three, in their order.
pub const NAMES: [&str; 3] = ["cpu", "memory", "disk"];
/// Most thousandths of a core that a value may name: ten thousand cores.
pub const CPU_MOST: u64 = 10_000_000;
/// Most bytes of memory or disk that a value may name: a pebibyte.
pub const BYTES_MOST: u64 = 1 << 50;

impl Resources {
    /// Without a limit, in arithmetic.
    pub const ENDLESS: Self = Self { cpu_milli: u64::MAX, memory: u64::MAX, disk: u64::MAX };

    /// The three amounts in the order of [`NAMES`].
    #[must_use]
    pub const fn amounts(&self) -> [u64; 3] {
        [self.cpu_milli, self.memory, self.disk]
    }

    /// From three amounts in the order of [`NAMES`].
    #[must_use]
    pub const fn from_amounts([cpu_milli, memory, disk]: [u64; 3]) -> Self {
        Self { cpu_milli, memory, disk }
    }

    fn zip(self, other: Self, f: impl Fn(u64, u64) -> u64) -> Self {
        let (a, b) = (self.amounts(), other.amounts());
        Self::from_amounts([f(a[0], b[0]), f(a[1], b[1]), f(a[2], b[2])])
    }

    /// Whether it names nothing at all.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.amounts() == [0; 3]
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        self.zip(other, u64::saturating_add)
    }

    /// What is left of it; nothing where less than nothing would be.
    #[must_use]
    pub fn less(self, other: Self) -> Self {
        self.zip(other, u64::saturating_sub)
    }

    /// So many times it.
    #[must_use]
    pub fn times(self, count: u32) -> Self {
        self.zip(self, |amount, _| amount.saturating_mul(u64::from(count)))
    }

    /// The larger of each.
    #[must_use]
    pub fn or_more(self, other: Self) -> Self {
        self.zip(other, u64::max)
    }

    /// A quota as a limit: what it does not name has none.
    #[must_use]
    pub fn as_limit(self) -> Self {
        self.zip(self, |amount, _| if amount == 0 { u64::MAX } else { amount })
    }

    /// How many times an ask fits into it; endlessly often if it asks for nothing.
    #[must_use]
    pub fn holds(&self, ask: &Self) -> u32 {
        let times = self.amounts().into_iter().zip(ask.amounts()).filter_map(|(here, ask)| here.checked_div(ask));
        times.map(|times| u32::try_from(times).unwrap_or(u32::MAX)).min().unwrap_or(u32::MAX)
    }

    /// Of which of the three one more of an ask does not fit into it.
    pub(crate) fn lacks(&self, ask: &Self) -> impl Iterator<Item = usize> + use<> {
        let (here, ask) = (self.amounts(), ask.amounts());
        (0..3).filter(move |which| ask[*which] > here[*which])
    }

    /// Whether a measurement of it has changed by so much that it is worth saying: any change of cores, and of memory and
    /// disk one by more than an eighth. A kernel that keeps a page more for itself is not worth a signed row on every fulcrum.
    #[must_use]
    pub fn differs(&self, told: &Self) -> bool {
        let far = |now: u64, told: u64| now.abs_diff(told) > told / 8;
        self.cpu_milli != told.cpu_milli || far(self.memory, told.memory) || far(self.disk, told.disk)
    }

    /// Whether every amount is within its bounds.
    #[must_use]
    pub const fn is_bounded(&self) -> bool {
        self.cpu_milli <= CPU_MOST && self.memory <= BYTES_MOST && self.disk <= BYTES_MOST
    }
}

/// One amount for people: cores as a decimal number, bytes with the largest unit that fits, `256M` for 256 · 2^20.
#[must_use]
pub fn shown(which: usize, amount: u64) -> String {
    if which == 0 {
        return decimal(amount / 1000, amount % 1000, 3);
    }
    let (unit, size) = match amount {
        0..1024 => return format!("{amount}"),
        _ if amount < 1 << 20 => ("K", 1u64 << 10),
        _ if amount < 1 << 30 => ("M", 1 << 20),
        _ if amount < 1 << 40 => ("G", 1 << 30),
        _ => ("T", 1 << 40),
    };
    // In tenths, rounded down: what is said to be free is there.
    let tenths = u128::from(amount % size) * 10 / u128::from(size);
    let tenths = u64::try_from(tenths).unwrap_or_default();
    format!("{}{unit}", decimal(amount / size, tenths, 1))
}

fn decimal(whole: u64, rest: u64, digits: usize) -> String {
    match rest {
        0 => format!("{whole}"),
        _ => format!("{whole}.{}", format!("{rest:0digits$}").trim_end_matches('0')),
    }
}

impl fmt::Display for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = NAMES.iter().zip(self.amounts()).enumerate().filter(|(_, (_, amount))| *amount > 0);
        let named: Vec<String> =
            named.map(|(which, (name, amount))| format!("{name} {}", shown(which, amount))).collect();
        f.write_str(if named.is_empty() { "nothing" } else { "" })?;
        f.write_str(&named.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    fn of(cpu_milli: u64, memory: u64, disk: u64) -> Resources {
        Resources { cpu_milli, memory, disk }
    }

    #[test]
    fn amounts_are_shown_as_people_write_them() {
        for (resources, text) in [
            (of(0, 0, 0), "nothing"),
            (of(500, 256 << 20, 0), "cpu 0.5, memory 256M"),
            (of(8000, 0, 0), "cpu 8"),
            (of(1, 1023, 0), "cpu 0.001, memory 1023"),
            (of(1250, 0, (3 << 30) + (1 << 29)), "cpu 1.25, disk 3.5G"),
            (of(0, (1 << 30) - 1, 2 << 40), "memory 1023.9M, disk 2T"),
        ] {
            assert_eq!(resources.to_string(), text);
        }
    }

    #[test]
    fn an_ask_fits_as_often_as_its_scarcest_part() {
        let here = of(4000, 1 << 30, 0);
        assert_eq!(here.holds(&of(0, 0, 0)), u32::MAX);
        assert_eq!(here.holds(&of(500, 256 << 20, 0)), 4);
        assert_eq!(here.holds(&of(0, 0, 1)), 0, "no disk is known");
        assert_eq!(here.lacks(&of(5000, 0, 1)).collect::<Vec<_>>(), [0, 2]);
        assert_eq!(of(2000, 0, 0).as_limit().holds(&of(500, 1 << 40, 7)), 4, "a quota limits only what it names");
        assert_eq!(here.less(of(5000, 1, 1)), of(0, (1 << 30) - 1, 0));
    }

    #[test]
    fn small_changes_of_memory_and_disk_are_not_worth_saying() {
        let told = of(4000, 800, 8000);
        assert!(!of(4000, 900, 7000).differs(&told));
        assert!(of(4000, 901, 8000).differs(&told) && of(4000, 800, 6999).differs(&told));
        assert!(of(2000, 800, 8000).differs(&told) && told.differs(&of(0, 0, 0)));
    }
}
