//! Names that Compose allows.

use std::{borrow::Borrow, fmt, str::FromStr};

use yaml_source::shown;

/// Why a text is no name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} is not a {kind} name: {rule}")]
pub struct ParseNameError {
    /// What the name is for, such as `service`.
    pub kind: &'static str,
    /// The refused text, quoted and cut.
    pub name: String,
    /// What is allowed.
    pub rule: &'static str,
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $kind:literal, $rule:literal, $accepts:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(String);

        impl $type {
            /// Checks a text and makes it a name.
            ///
            /// # Errors
            /// When the text is empty, longer than 255 bytes, or has other characters than Compose allows.
            pub fn new(name: impl Into<String>) -> Result<Self, ParseNameError> {
                let name = name.into();
                let accepts: fn(&str) -> bool = $accepts;
                if !name.is_empty() && name.len() <= 255 && accepts(&name) {
                    return Ok(Self(name));
                }
                Err(ParseNameError { kind: $kind, name: shown::quoted(&name), rule: $rule })
            }

            /// Returns the name.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = ParseNameError;

            fn from_str(name: &str) -> Result<Self, ParseNameError> {
                Self::new(name)
            }
        }

        impl TryFrom<&str> for $type {
            type Error = ParseNameError;

            fn try_from(name: &str) -> Result<Self, ParseNameError> {
                Self::new(name)
            }
        }

        impl Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.0
            }
        }
    };
}

name!(
    /// The name of a service: letters, digits, `.`, `_`, `-`.
    ServiceName, "service", "letters, digits, `.`, `_` and `-` are allowed", is_key
);
name!(
    /// The name of a network inside the file: letters, digits, `.`, `_`, `-`.
    NetworkName, "network", "letters, digits, `.`, `_` and `-` are allowed", is_key
);
name!(
    /// The name of a volume inside the file: letters, digits, `.`, `_`, `-`.
    VolumeName, "volume", "letters, digits, `.`, `_` and `-` are allowed", is_key
);
name!(
    /// The name of a project: lower-case letters, digits, `_`, `-`, with a letter or digit first.
    ProjectName, "project", "lower-case letters, digits, `_` and `-` are allowed, with a letter or digit first", |name| {
        let first_fits = name.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit());
        first_fits && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte))
    }
);

impl ProjectName {
    /// Makes a name of any text as Compose does: lower case, other characters than `a-z 0-9 _ -` dropped, no `_` or `-` first.
    ///
    /// # Errors
    /// When nothing is left, or too much.
    pub fn normalized(text: &str) -> Result<Self, ParseNameError> {
        let allowed = |character: &char| character.is_ascii_alphanumeric() || "_-".contains(*character);
        let kept: String = text.to_lowercase().chars().filter(allowed).collect();
        Self::new(kept.trim_start_matches(['_', '-']))
            .map_err(|error| ParseNameError { name: shown::quoted(text), ..error })
    }
}

fn is_key(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_and_refuses() {
        assert!(["kafka_broker_1", "a.b-C", "1"].iter().all(|name| ServiceName::new(*name).is_ok()));
        assert!(["", "a b", "ü", "a/b", "a\n"].iter().all(|name| ServiceName::new(*name).is_err()));
        assert!(ServiceName::new("a".repeat(255)).is_ok() && ServiceName::new("a".repeat(256)).is_err());
        assert!(["team", "1-x_y"].iter().all(|name| ProjectName::new(*name).is_ok()));
        assert!(["Team", "_a", "-a", "a.b"].iter().all(|name| ProjectName::new(*name).is_err()));
        let normalized = |text: &str| ProjectName::normalized(text).map(String::from);
        assert_eq!(
            (normalized("Bad Name!"), normalized("_My_Proj")),
            (Ok("badname".to_owned()), Ok("my_proj".to_owned()))
        );
        assert!(normalized("_-!").is_err());
        let error = ServiceName::new("a b").map_err(|error| error.to_string());
        assert_eq!(
            error,
            Err("`a b` is not a service name: letters, digits, `.`, `_` and `-` are allowed".to_owned())
        );
    }
}
