//! One file over HTTP into the cache: bounded, checked against its pinned SHA-256, and there as a whole or not at all.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use reqwest::{Client, NoProxy, Proxy, StatusCode};
use sha2::{Digest, Sha256};

/// How often a source is asked before it is given up.
const TRIES: u32 = 3;
/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(500);
/// Longest time to connect.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Why a file could not be fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DownloadError {
    /// The HTTP client cannot be made with these settings.
    #[error("the proxy in the environment's {variable} is no usable address")]
    Proxy {
        /// The variable.
        variable: &'static str,
        /// The cause.
        source: reqwest::Error,
    },
    /// No HTTP client on this machine.
    #[error("cannot speak HTTP")]
    Client(#[source] reqwest::Error),
    /// The source does not answer, or stopped in the middle.
    #[error("cannot fetch {url}")]
    Unreachable {
        /// The address.
        url: String,
        /// The cause.
        source: reqwest::Error,
    },
    /// The source answered something else than the file.
    #[error("{url} answered {status}")]
    Refused {
        /// The address.
        url: String,
        /// What it answered.
        status: StatusCode,
    },
    /// The file is larger than it can be.
    #[error("{url} is larger than {limit} bytes")]
    TooLarge {
        /// The address.
        url: String,
        /// The limit.
        limit: u64,
    },
    /// The bytes are not the pinned ones.
    #[error("{url} is not the pinned file: its SHA-256 is {found}, expected {expected}; it was not kept")]
    Checksum {
        /// The address.
        url: String,
        /// What it has.
        found: String,
        /// What it should have.
        expected: String,
    },
    /// The file system refused.
    #[error("{doing} {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

impl DownloadError {
    fn is_worth_another_try(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { status, .. } => status.is_server_error(),
            _ => false,
        }
    }
}

/// A file to fetch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Remote<'a> {
    pub(super) url: &'a str,
    /// In lower-case hexadecimal.
    pub(super) sha256: &'a str,
    /// Most bytes it may have.
    pub(super) limit: u64,
}

/// Fetches files.
#[derive(Debug)]
pub(super) struct Downloader(Client);

impl Downloader {
    /// A downloader that gives up a source after `silence`, and uses the proxies of `environment`.
    pub(super) fn new(
        silence: Duration,
        environment: &[(OsString, OsString)],
    ) -> Result<Self, DownloadError> {
        let value = |names: [&'static str; 2]| {
            names.into_iter().find_map(|name| {
                let (_, value) = environment.iter().find(|(key, _)| key == name)?;
                let value = value.to_str().filter(|value| !value.is_empty())?;
                Some((name, value))
            })
        };
        // The client must not read the environment itself.
        let mut builder = Client::builder()
            .no_proxy()
            .connect_timeout(CONNECT_LIMIT.min(silence))
            .read_timeout(silence)
            .user_agent("kafka-testbed");
        let excepted = value(["no_proxy", "NO_PROXY"]).and_then(|(_, hosts)| NoProxy::from_string(hosts));
        type MakeProxy = fn(&str) -> reqwest::Result<Proxy>;
        let kinds: [([&str; 2], MakeProxy); 2] = [
            (["https_proxy", "HTTPS_PROXY"], |address| Proxy::https(address)),
            (["http_proxy", "HTTP_PROXY"], |address| Proxy::http(address)),
        ];
        for (names, make) in kinds {
            if let Some((variable, address)) = value(names) {
                let proxy = make(address).map_err(|source| DownloadError::Proxy { variable, source })?;
                builder = builder.proxy(proxy.no_proxy(excepted.clone()));
            }
        }
        builder.build().map(Self).map_err(DownloadError::Client)
    }

    /// Fetches `remote` to the file `to`. `on_progress` gets the bytes so far, and all bytes where they are known.
    ///
    /// # Errors
    /// After any, `to` is as before and nothing else is left.
    pub(super) async fn fetch(
        &self,
        remote: Remote<'_>,
        to: &Path,
        mut on_progress: impl FnMut(u64, Option<u64>),
    ) -> Result<(), DownloadError> {
        let mut part = to.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let mut tries = 1;
        let found = loop {
            match self.fetch_once(remote, &part, &mut on_progress).await {
                Ok(found) => break found,
                Err(error) => {
                    // What is left of a file that failed must not take space that others need.
                    let _ = fs::remove_file(&part);
                    if tries == TRIES || !error.is_worth_another_try() {
                        return Err(error);
                    }
                }
            }
            tries += 1;
            tokio::time::sleep(PAUSE).await;
        };
        if found != remote.sha256 {
            let _ = fs::remove_file(&part);
            return Err(DownloadError::Checksum {
                url: remote.url.to_owned(),
                found,
                expected: remote.sha256.to_owned(),
            });
        }
        fs::rename(&part, to).map_err(io_error("moving into the cache", to))
    }

    /// Returns the SHA-256 of what was written to `part`.
    async fn fetch_once(
        &self,
        remote: Remote<'_>,
        part: &Path,
        on_progress: &mut impl FnMut(u64, Option<u64>),
    ) -> Result<String, DownloadError> {
        let url = || remote.url.to_owned();
        let unreachable =
            |source: reqwest::Error| DownloadError::Unreachable { url: url(), source: source.without_url() };
        let too_large = || DownloadError::TooLarge { url: url(), limit: remote.limit };
        let mut response = self.0.get(remote.url).send().await.map_err(unreachable)?;
        if response.status() != StatusCode::OK {
            return Err(DownloadError::Refused { url: url(), status: response.status() });
        }
        let all = response.content_length();
        if all.is_some_and(|all| all > remote.limit) {
            return Err(too_large());
        }
        let mut file = File::create(part).map_err(io_error("writing", part))?;
        let mut hash = Sha256::new();
        let mut done = 0_u64;
        while let Some(bytes) = response.chunk().await.map_err(unreachable)? {
            done = done.saturating_add(bytes.len() as u64);
            if done > remote.limit {
                return Err(too_large());
            }
            hash.update(&bytes);
            file.write_all(&bytes).map_err(io_error("writing", part))?;
            on_progress(done, all);
        }
        file.sync_all().map_err(io_error("writing", part))?;
        Ok(hex(&hash.finalize()))
    }
}

/// The SHA-256 of a file, in lower-case hexadecimal.
pub(super) fn sha256(path: &Path) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = io::Read::read(&mut file, &mut buffer)?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
    }
    Ok(hex(&hash.finalize()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DownloadError {
    let path = path.to_owned();
    move |source| DownloadError::Io { doing, path, source }
}

#[cfg(test)]
pub(super) mod tests {
    use axum::{Router, body::Body, extract::Path as UrlPath, http::StatusCode as Answer, routing::get};

    use super::*;

    /// SHA-256 of `abc`.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    /// Serves `files` by path; every other path is not found.
    pub(in super::super) async fn serve(files: &'static [(&'static str, &'static [u8])]) -> String {
        let answer = move |UrlPath(path): UrlPath<String>| async move {
            match files.iter().find(|(name, _)| *name == path) {
                Some((_, bytes)) => Ok(Body::from(*bytes)),
                None => Err(Answer::NOT_FOUND),
            }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("bound");
        let router = Router::new().route("/{*path}", get(answer));
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}")
    }

    #[track_caller]
    fn downloader() -> Downloader {
        Downloader::new(Duration::from_secs(20), &[]).expect("no proxy")
    }

    async fn check(path: &str, sha256: &str, limit: u64, expected: Result<(), &str>) {
        let base = serve(&[("abc", b"abc")]).await;
        let folder = tempfile::tempdir().expect("folder");
        let to = folder.path().join("file");
        let url = format!("{base}/{path}");
        let fetched = downloader().fetch(Remote { url: &url, sha256, limit }, &to, |_, _| {}).await;
        match expected {
            Ok(()) => {
                fetched.expect("is fetched");
                assert_eq!(fs::read(&to).expect("is there"), b"abc");
                assert_eq!(fs::read_dir(folder.path()).expect("reads").count(), 1, "nothing else is left");
            }
            Err(words) => {
                let error = fetched.expect_err("is refused").to_string();
                assert!(error.contains(words) && error.contains(&url), "{error}");
                assert_eq!(fs::read_dir(folder.path()).expect("reads").count(), 0, "nothing is left");
            }
        }
    }

    #[tokio::test]
    async fn a_file_arrives_whole_and_right_or_not_at_all() {
        check("abc", ABC, 3, Ok(())).await;
        check("abc", ABC, 2, Err("larger than 2 bytes")).await;
        check("abc", &ABC.replace("ba78", "ffff"), 3, Err("not the pinned file")).await;
        check("other", ABC, 3, Err("404")).await;
    }

    #[tokio::test]
    async fn a_closed_port_is_told_with_its_address() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
        let url = format!("http://{}/abc", listener.local_addr().expect("bound"));
        drop(listener);
        let folder = tempfile::tempdir().expect("folder");
        let remote = Remote { url: &url, sha256: ABC, limit: 3 };
        let error =
            downloader().fetch(remote, &folder.path().join("file"), |_, _| {}).await.expect_err("closed");
        let text = super::super::error::chain(&error);
        assert!(text.starts_with(&format!("cannot fetch {url}: ")) && text.contains("refused"), "{text}");
    }

    #[tokio::test]
    async fn a_source_that_says_nothing_is_given_up() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
        let url = format!("http://{}/abc", listener.local_addr().expect("bound"));
        let folder = tempfile::tempdir().expect("folder");
        let downloader = Downloader::new(Duration::from_millis(50), &[]).expect("no proxy");
        let remote = Remote { url: &url, sha256: ABC, limit: 3 };
        let error =
            downloader.fetch(remote, &folder.path().join("file"), |_, _| {}).await.expect_err("silent");
        assert!(
            matches!(&error, DownloadError::Unreachable { source, .. } if source.is_timeout()),
            "{error:?}"
        );
    }

    #[tokio::test]
    async fn what_cannot_be_written_is_told_with_its_path() {
        let base = serve(&[("abc", b"abc")]).await;
        let url = format!("{base}/abc");
        let remote = Remote { url: &url, sha256: ABC, limit: 3 };
        let to = Path::new("/nowhere/at/all");
        let error = downloader().fetch(remote, to, |_, _| {}).await.expect_err("no folder");
        assert_eq!(error.to_string(), "writing /nowhere/at/all.part");
    }

    #[test]
    fn a_proxy_that_is_no_address_is_told_by_its_variable_only() {
        let environment = [("HTTPS_PROXY".into(), "http://user:secret@[".into())];
        let error = Downloader::new(Duration::from_secs(1), &environment).expect_err("no address");
        let text = super::super::error::chain(&error);
        assert!(text.contains("HTTPS_PROXY") && !text.contains("secret"), "{text}");
    }
}
