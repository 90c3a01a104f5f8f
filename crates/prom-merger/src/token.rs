//! The secret by which a source proves that it is who its path says.

use std::{fs, io, path::Path};

use axum::http::{HeaderMap, StatusCode, header::AUTHORIZATION};
use sha2::{Digest, Sha256};

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

/// Whether a request may write to a source that has the token `own` (every request may where it has none).
///
/// No token: 401. Any other token, such as another source's: 403.
pub(crate) fn check(own: Option<&Token>, headers: &HeaderMap) -> Result<(), (StatusCode, &'static str)> {
    let Some(own) = own else { return Ok(()) };
    let given = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| Token::of(token.trim()));
    match given {
        None => Err((StatusCode::UNAUTHORIZED, "this source needs a bearer token\n")),
        Some(given) if given == *own => Ok(()),
        Some(_) => Err((StatusCode::FORBIDDEN, "this is not the token of this source\n")),
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
        let own = Token::of("secret");
        assert_eq!(
            check(Some(&own), &headers).err().map(|(status, _)| status.as_u16()),
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
        assert_eq!(check(None, &HeaderMap::new()), Ok(()));
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
