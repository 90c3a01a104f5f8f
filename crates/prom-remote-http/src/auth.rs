//! How a client proves who it is.

use std::fmt;

/// Text that must not be shown: its `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps the text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the text, to be sent and nothing else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

/// What a client sends as `Authorization`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Authorization {
    /// No such header.
    #[default]
    None,
    /// `Bearer` and the token.
    Bearer(Secret),
    /// `Basic` with user and password.
    Basic {
        /// The name of the user.
        user: String,
        /// The password.
        password: Secret,
    },
}

impl Authorization {
    /// Adds the header to a request of the HTTP library, for the questions that are no remote read or write.
    pub fn apply(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match self {
            Self::None => request,
            Self::Bearer(token) => request.bearer_auth(token.expose()),
            Self::Basic { user, password } => request.basic_auth(user, Some(password.expose())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_hides_secrets() {
        let basic = Authorization::Basic { user: "u".into(), password: Secret::new("hush") };
        let shown = format!("{basic:?} {:?}", Authorization::Bearer(Secret::new("hush")));
        assert!(!shown.contains("hush"), "{shown}");
    }
}
