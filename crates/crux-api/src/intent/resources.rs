//! Cores, memory and disk as people write them: `cpu = 0.5`, `memory = "256M"`, `--quota cpu=8,memory=16G`.

use super::read::{Allowed, ManifestError, Section};
use crux_core::resources::{BYTES_MOST, CPU_MOST, Resources};

const ALLOWED: Allowed = Allowed { keys: &["cpu", "memory", "disk"], not_yet: &[] };

/// Reads a number of cores, like `8` or `0.5`, as thousandths.
///
/// # Errors
/// Why it is none, for people.
pub fn parse_cpu(text: &str) -> Result<u64, String> {
    let bad = || format!("{text:?} is no number of cores; write it like 8 or 0.5, from 0.001 to {}", CPU_MOST / 1000);
    let (whole, rest) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(rest) || rest.trim_end_matches('0').len() > 3 {
        return Err(bad());
    }
    let rest: u64 = format!("{:0<3.3}", rest).parse().map_err(|_| bad())?;
    let whole: u64 = whole.parse().map_err(|_| bad())?;
    let milli = whole.saturating_mul(1000).saturating_add(rest);
    if milli == 0 || milli > CPU_MOST { Err(bad()) } else { Ok(milli) }
}

/// Reads a number of bytes with its unit: `256M`, `16G`; each is 1024 of the one before.
///
/// # Errors
/// Why it is none, for people.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let bad = || format!("{text:?} is no size; write it like 512K, 256M, 16G or 1T, at most 1024T (K is 1024 bytes)");
    let unit = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
    let number: u64 = text[..unit].parse().map_err(|_| bad())?;
    let shift = match &text[unit..] {
        "K" | "Ki" => 10,
        "M" | "Mi" => 20,
        "G" | "Gi" => 30,
        "T" | "Ti" => 40,
        _ => return Err(bad()),
    };
    let bytes = number.saturating_mul(1 << shift);
    if bytes == 0 || bytes > BYTES_MOST { Err(bad()) } else { Ok(bytes) }
}

/// Reads a quota: `cpu=8,memory=16G,disk=1T`, any of them, or `none`, which takes it away.
///
/// # Errors
/// Why it is none, for people.
pub fn parse_quota(text: &str) -> Result<Option<Resources>, String> {
    if text == "none" {
        return Ok(None);
    }
    let mut quota = Resources::default();
    for pair in text.split(',') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let place = match name {
            "cpu" => &mut quota.cpu_milli,
            "memory" => &mut quota.memory,
            "disk" => &mut quota.disk,
            _ => {
                return Err(format!(
                    "{name:?} is no part of a quota; write it like cpu=8,memory=16G,disk=1T, or `none`"
                ));
            }
        };
        if *place != 0 {
            return Err(format!("{name} is given twice"));
        }
        *place = if name == "cpu" { parse_cpu(value) } else { parse_bytes(value) }?;
    }
    Ok(Some(quota))
}

/// A table like `{ cpu = 0.5, memory = "256M" }`.
pub(super) fn read(section: &Section<'_>, key: &str) -> Result<Option<Resources>, ManifestError> {
    let Some(table) = section.section(key)? else { return Ok(None) };
    table.allow(&ALLOWED)?;
    let cpu = table.decimal("cpu", "a number of cores, like 8 or 0.5")?;
    let cpu = cpu.map(|text| parse_cpu(&text)).transpose().map_err(|problem| table.wrong("cpu", problem))?;
    let bytes = |name: &str| {
        let text = table.string(name)?;
        text.map(|text| parse_bytes(&text)).transpose().map_err(|problem| table.wrong(name, problem))
    };
    let (memory, disk) = (bytes("memory")?, bytes("disk")?);
    let all = Resources {
        cpu_milli: cpu.unwrap_or_default(),
        memory: memory.unwrap_or_default(),
        disk: disk.unwrap_or_default(),
    };
    if all.is_none() {
        return Err(section.wrong(key, "it names nothing; allowed here: cpu, memory, disk"));
    }
    Ok(Some(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_as_people_write_them() {
        for (text, milli) in [("8", 8_000), ("0.5", 500), ("0.001", 1), ("1.25", 1_250), ("2.5000", 2_500)] {
            assert_eq!(parse_cpu(text), Ok(milli), "{text}");
        }
        for text in ["", "0", "0.0", "-1", "0.0001", "1e3", ".5", "1.", "10001", "99999999999999999999", "a", "1,5"] {
            assert!(parse_cpu(text).unwrap_err().contains("0.001 to 10000"), "{text}");
        }
        for (text, bytes) in [("512K", 512 << 10), ("256M", 256 << 20), ("16Gi", 16 << 30), ("1T", 1 << 40)] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for text in ["", "0M", "256", "M", "1.5G", "256MB", "-1M", "1 M", "1025T", "99999999999999999999M"] {
            assert!(parse_bytes(text).unwrap_err().contains("like 512K"), "{text}");
        }
    }

    #[test]
    fn a_quota_names_what_it_limits() {
        let quota = Resources { cpu_milli: 8_000, memory: 16 << 30, disk: 0 };
        assert_eq!(parse_quota("cpu=8,memory=16G"), Ok(Some(quota)));
        assert_eq!(parse_quota("none"), Ok(None));
        for (text, why) in [
            ("cpu=8,cpu=9", "twice"),
            ("cpu", "number of cores"),
            ("cores=8", "no part of a quota"),
            ("", "no part of a quota"),
            ("memory=16", "no size"),
            ("cpu=8,", "no part of a quota"),
        ] {
            assert!(parse_quota(text).unwrap_err().contains(why), "{text}");
        }
    }
}
