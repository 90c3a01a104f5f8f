//! Ports and mounts written as one text.

use std::{net::IpAddr, ops::RangeInclusive};

use yaml_source::{Tree, shown};

use crate::{Extra, Mount, MountKind, Port, Protocol, PublishedPorts};

/// Why a text is no port mapping.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParsePortError {
    /// Nothing stands after the last colon.
    #[error("the port of the container is missing")]
    NoTarget,
    /// A port that is none.
    #[error("{0} is not a port or a range of ports")]
    NotAPort(String),
    /// An address that is none.
    #[error("{0} is not an IP address")]
    NotAnAddress(String),
    /// A protocol other than `tcp`, `udp`, `sctp`.
    #[error("{0} is not a protocol; known are `tcp`, `udp`, `sctp`")]
    UnknownProtocol(String),
    /// Two ranges of different length.
    #[error("the ranges {published} and {target} have different lengths")]
    RangesDiffer {
        /// The range of the host.
        published: String,
        /// The range of the container.
        target: String,
    },
}

/// Reads `[[IP:]HOST:]CONTAINER[/protocol]`; a range of container ports gives one port each.
///
/// # Errors
/// When a part is not what it should be. At most 65536 ports come from one text.
pub fn parse_ports(text: &str) -> Result<Vec<Port>, ParsePortError> {
    let (addresses, protocol) = match text.rsplit_once('/') {
        Some((addresses, "" | "tcp")) => (addresses, Protocol::Tcp),
        Some((addresses, "udp")) => (addresses, Protocol::Udp),
        Some((addresses, "sctp")) => (addresses, Protocol::Sctp),
        Some((_, unknown)) => return Err(ParsePortError::UnknownProtocol(shown::quoted(unknown))),
        None => (text, Protocol::Tcp),
    };
    let mut parts = addresses.rsplitn(3, ':');
    let target_text = parts.next().unwrap_or("");
    let published_text = parts.next().unwrap_or("");
    let host_text = parts.next().unwrap_or("");
    if target_text.is_empty() {
        return Err(ParsePortError::NoTarget);
    }
    let targets = range(target_text)?;
    if *targets.start() == 0 {
        return Err(ParsePortError::NotAPort(shown::quoted(target_text)));
    }
    let published = if published_text.is_empty() { None } else { Some(range(published_text)?) };
    let host_ip = match host_text {
        "" => None,
        host => Some(address(host)?),
    };
    let one = |target, published| Port { host_ip, published, target, protocol, extra: Extra::new() };
    let whole = |range: RangeInclusive<u16>| PublishedPorts { first: *range.start(), last: *range.end() };
    match published {
        None => Ok(targets.map(|target| one(target, None)).collect()),
        Some(published) if targets.len() == published.len() => Ok(targets
            .zip(published)
            .map(|(target, published)| one(target, Some(published.into())))
            .collect()),
        Some(published) if targets.len() == 1 => Ok(vec![one(*targets.start(), Some(whole(published)))]),
        Some(_) => Err(ParsePortError::RangesDiffer {
            published: shown::quoted(published_text),
            target: shown::quoted(target_text),
        }),
    }
}

/// Reads one port or `first-last`.
pub(crate) fn range(text: &str) -> Result<RangeInclusive<u16>, ParsePortError> {
    let refuse = || ParsePortError::NotAPort(shown::quoted(text));
    let port = |text: &str| {
        let all_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if all_digits { text.parse::<u16>().ok() } else { None }
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = port(first).zip(port(last)).ok_or_else(refuse)?;
    if first > last { Err(refuse()) } else { Ok(first..=last) }
}

pub(crate) fn address(text: &str) -> Result<IpAddr, ParsePortError> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().map_err(|_| ParsePortError::NotAnAddress(shown::quoted(text)))
}

/// Why a text is no mount.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseMountError {
    /// Nothing between two colons, or nothing at all.
    #[error("a part between the colons is empty")]
    EmptyPart,
    /// More than source, target and options.
    #[error("there are more parts than source, target and options")]
    TooManyParts,
    /// An option that Compose would ignore without a word.
    #[error(
        "unknown option {0}; known are `ro`, `rw`, `nocopy`, `z`, `Z` and the propagations such as `rslave`"
    )]
    UnknownOption(String),
}

/// Reads `[SOURCE:]TARGET[:options]`. A source that begins with `.`, `/`, `~`, `\` or a drive letter is a path of the host,
/// any other the name of a volume.
///
/// # Errors
/// When a part is empty, or there are too many, or an option is unknown.
pub fn parse_mount(text: &str) -> Result<Mount, ParseMountError> {
    let parts = split_mount(text);
    if parts.iter().any(|part| part.is_empty()) {
        return Err(ParseMountError::EmptyPart);
    }
    let (source, target, options) = match parts.as_slice() {
        [target] => (None, *target, ""),
        [source, target] => (Some(*source), *target, ""),
        [source, target, options] => (Some(*source), *target, *options),
        _ => return Err(ParseMountError::TooManyParts),
    };
    let is_path =
        source.is_some_and(|source| source.starts_with(['.', '/', '~', '\\']) || has_drive_letter(source));
    let kind = if is_path { MountKind::Bind } else { MountKind::Volume };
    let mut mount = Mount::new(kind, source.map(str::to_owned), cleaned(target));
    for option in options.split(',').filter(|option| !option.is_empty()) {
        let (part, key, value) = match option {
            "ro" | "rw" => {
                mount.read_only = option == "ro";
                continue;
            }
            "nocopy" => ("volume", "nocopy", Tree::Boolean(true)),
            "z" | "Z" => ("bind", "selinux", option.into()),
            "private" | "rprivate" | "shared" | "rshared" | "slave" | "rslave" => {
                ("bind", "propagation", option.into())
            }
            // Written for Docker Desktop; Compose ignores them everywhere.
            "cached" | "delegated" | "consistent" => continue,
            unknown => return Err(ParseMountError::UnknownOption(shown::quoted(unknown))),
        };
        mount.extra.insert(part.to_owned(), [(key, value)].into_iter().collect());
    }
    Ok(mount)
}

/// Splits at colons, but not after a drive letter.
fn split_mount(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text;
    loop {
        let search_from = if has_drive_letter(rest) { 2 } else { 0 };
        let colon = rest.get(search_from..).and_then(|tail| tail.find(':'));
        match colon.map(|at| rest.split_at(search_from + at)) {
            Some((part, after)) => {
                parts.push(part);
                rest = after.get(1..).unwrap_or("");
            }
            None => {
                parts.push(rest);
                return parts;
            }
        }
    }
}

/// `C:\` or `C:/`. Compose also takes a volume name of one letter for a drive (`v:/b`); so a `:` with a slash after one
/// letter is always a drive.
fn has_drive_letter(text: &str) -> bool {
    let bytes = text.as_bytes();
    matches!(bytes, [letter, b':', b'/' | b'\\', ..] if letter.is_ascii_alphabetic())
}

/// Path without double and trailing slashes, as Compose cleans it.
fn cleaned(path: &str) -> String {
    if !path.starts_with('/') {
        return path.to_owned();
    }
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reference's own results; see `test_data/ports_volumes.oracle.txt`.
    const ORACLE: &str = include_str!("../test_data/ports_volumes.oracle.txt");

    fn cases() -> impl Iterator<Item = (String, &'static str)> {
        let unquoted = |text: &str| text.trim_matches('\'').replace(r"\\", r"\");
        ORACLE
            .lines()
            .filter_map(|line| line.split_once(" -> "))
            .map(move |(input, output)| (unquoted(input), output))
    }

    fn as_oracle(port: &Port) -> String {
        let host_ip = port.host_ip.map_or(String::new(), |ip| ip.to_string());
        let published = port.published.map_or(String::new(), |published| published.to_string());
        format!("('{host_ip}', '{published}', {}, '{}')", port.target, port.protocol.as_str())
    }

    #[test]
    fn reads_ports_as_the_reference_does() {
        let ports = cases().filter(|(_, output)| {
            output.starts_with('[') || output.contains("ERR") && !output.contains("invalid spec")
        });
        let mut count = 0;
        for (input, output) in ports {
            count += 1;
            let ours =
                parse_ports(&input).map(|ports| ports.iter().map(as_oracle).collect::<Vec<_>>().join(", "));
            match output.strip_prefix('[').and_then(|list| list.strip_suffix(']')) {
                Some(expected) => assert_eq!(ours.as_deref(), Ok(expected), "{input}"),
                None => assert!(ours.is_err(), "{input}: {ours:?}"),
            }
        }
        assert_eq!(count, 15);
    }

    #[test]
    fn reads_mounts_as_the_reference_does() {
        let unlike = ["a", "..:/b", "/a:/b:foo", "/a:/b:exec", "a:/b"];
        let mounts = cases().filter(|(_, output)| output.starts_with('{') || output.contains("invalid spec"));
        let mut count = 0;
        for (input, output) in mounts {
            count += 1;
            let ours = parse_mount(&input);
            let Ok(expected) = serde_json::from_str::<serde_json::Value>(output) else {
                assert!(ours.is_err(), "{input}");
                continue;
            };
            if unlike.contains(&input.as_str()) {
                continue;
            }
            let ours = ours.expect("a mount");
            assert_eq!(expected["type"], ours.kind.as_str(), "{input}");
            assert_eq!(
                expected.get("source").and_then(|source| source.as_str()),
                ours.source.as_deref(),
                "{input}"
            );
            assert_eq!(expected["target"], ours.target, "{input}");
            assert_eq!(expected.get("read_only").is_some(), ours.read_only, "{input}");
        }
        assert_eq!(count, 15);
    }

    #[test]
    fn differs_from_the_reference_knowingly() {
        // An unknown option is ignored there without a word.
        assert_eq!(
            parse_mount("/a:/b:foo").map_err(|error| error.to_string().starts_with("unknown option `foo`")),
            Err(true)
        );
        // There the source is made absolute at once; here it stays as written.
        assert_eq!(parse_mount("..:/b").map(|mount| mount.source), Ok(Some("..".to_owned())));
        assert_eq!(parse_mount("a:b:c:d"), Err(ParseMountError::TooManyParts));
        // As there: one letter is a drive.
        assert_eq!(
            parse_mount("a:/b").map(|mount| (mount.source, mount.target)),
            Ok((None, "a:/b".to_owned()))
        );
    }

    #[test]
    fn ranges_are_bounded() {
        assert_eq!(parse_ports("1-65535").map(|ports| ports.len()), Ok(65_535));
        for bad in ["", "0", "65536", "80-70", "-", "80-", "+80", "99999999999999999999", "1:2:3:4:5"] {
            assert!(parse_ports(bad).is_err(), "{bad}");
        }
        assert_eq!(
            parse_ports("[::1]:80:81").map(|ports| ports[0].host_ip),
            Ok(Some(IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])))
        );
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "[-0-9a-zA-Z:/.\\[\\],~\\\\ ü]{0,30}") {
            let _ = parse_ports(&text);
            let _ = parse_mount(&text);
            let _ = crate::split_command(&text);
        }
    }
}
