//! The secret by which a source proves that it is who its path says.

use std::{fs, io, path::Path};

use axum::http::{HeaderMap, StatusCode, header::AUTHORIZATION};
use sha2::{Digest, Sha256};

use crate::web::ClientCertificate;

/// Longest token file that is read.
const MAX_BYTES: u64 = 4096;

/// The digest of a token: the token itself is not kept, and two digests are compared in constant time for what an
/// attacker can choose.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Token([u8; 32]);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Token {
    /// Reads the token of a file: its text without white space around it.
    pub(crate) fn read(path: &Path) -> io::Result<Self> {
        let invalid = |message| io::Error::new(io::ErrorKind::InvalidData, message);
        if fs::metadata(path)?.len() > MAX_BYTES {
            return Err(invalid("a token file has at most 4096 bytes"));
        }
        let text = fs::read_to_string(path)?;
        match text.trim() {
            "" => Err(invalid("the token file is empty")),
            token => Ok(Self::of(token)),
        }
    }

    pub(crate) fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }
}

/// Who may do something: everybody, where neither a token nor names are set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Access {
    pub(crate) token: Option<Token>,
    /// Names of client certificates.
    pub(crate) cert_names: Vec<String>,
}

impl Access {
    /// Whether a request may: by its token, or by its client's certificate.
    ///
    /// Neither shown: 401. Others, such as another source's: 403.
    pub(crate) fn check(
        &self,
        headers: &HeaderMap,
        certificate: &ClientCertificate,
    ) -> Result<(), (StatusCode, &'static str)> {
        if self.token.is_none() && self.cert_names.is_empty() {
            return Ok(());
        }
        let given = headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| Token::of(token.trim()));
        let names = certificate.0.as_deref();
        let has_name = names.into_iter().flatten().any(|name| self.cert_names.contains(name));
        let has_token = given.is_some() && given == self.token;
        if has_name || has_token {
            return Ok(());
        }
        let is_anonymous = given.is_none() && (names.is_none() || self.cert_names.is_empty());
        match (is_anonymous, self.token.is_some()) {
            (true, true) => Err((StatusCode::UNAUTHORIZED, "a bearer token is needed here\n")),
            (true, false) => Err((StatusCode::UNAUTHORIZED, "a client certificate is needed here\n")),
            (false, _) => {
                Err((StatusCode::FORBIDDEN, "neither token nor certificate is the right one here\n"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_status(header: Option<&'static str>, expected: Option<u16>) {
        let mut headers = HeaderMap::new();
        if let Some(header) = header {
            headers.insert(AUTHORIZATION, header.parse().unwrap());
        }
        let access = Access { token: Some(Token::of("secret")), cert_names: Vec::new() };
        assert_eq!(
            access.check(&headers, &ClientCertificate::default()).err().map(|(status, _)| status.as_u16()),
            expected,
            "{header:?}"
        );
    }

    #[test]
    fn only_the_own_token_is_good() {
        check_status(None, Some(401));
        check_status(Some("Basic c2VjcmV0"), Some(401));
        check_status(Some("Bearer"), Some(401));
        check_status(Some("Bearer other"), Some(403));
        check_status(Some("Bearer secret"), None);
        check_status(Some("bearer  secret "), None);
        let none = ClientCertificate::default();
        assert_eq!(Access::default().check(&HeaderMap::new(), &none), Ok(()));
    }

    #[test]
    fn a_certificate_is_as_good_as_a_token() {
        let shown = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            ClientCertificate(Some(names.into()))
        };
        let status = |access: &Access, certificate: ClientCertificate| {
            access.check(&HeaderMap::new(), &certificate).err().map(|(status, _)| status.as_u16())
        };
        let mut access = Access { token: None, cert_names: vec!["a.example".to_owned()] };
        assert_eq!(status(&access, shown(&["x", "a.example"])), None);
        assert_eq!(status(&access, shown(&["b.example"])), Some(403));
        assert_eq!(status(&access, ClientCertificate::default()), Some(401));
        access.token = Some(Token::of("secret"));
        assert_eq!(status(&access, shown(&["a.example"])), None);
        assert_eq!(status(&access, ClientCertificate::default()), Some(401));
        access.cert_names.clear();
        assert_eq!(status(&access, shown(&["a.example"])), Some(401), "only a token does here");
    }

    #[test]
    fn a_token_is_the_text_of_its_file_and_is_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, " secret\n").unwrap();
        let token = Token::read(&path).unwrap();
        assert_eq!(token, Token::of("secret"));
        assert!(!format!("{token:?}").contains("secret"));
        fs::write(&path, "\n").unwrap();
        assert!(Token::read(&path).is_err());
        fs::write(&path, vec![b'a'; 5000]).unwrap();
        assert!(Token::read(&path).is_err());
    }
}
