//! Who may do what, and what a hostile client can hold up.

use std::{
    io::Write,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use prom_merger::{Config, Merger, Running, StartError};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use reqwest::{Certificate, Client, ClientBuilder, Identity};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::support::one;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Certificate and key as PEM.
fn issued(authority: &Authority, name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    (params.signed_by(&key, authority).unwrap().pem(), key.serialize_pem())
}

async fn start(data: &Path, sources: &str, web: &str) -> Running {
    let text = format!(
        "data: {}\nsources: {sources}\ndestination: {{url: 'http://127.0.0.1:9/'}}\nweb: {{listen: '127.0.0.1:0', {web}}}\n",
        data.display()
    );
    Merger::start(Config::parse("m", text).unwrap()).await.unwrap()
}

async fn stop(running: Running) {
    running.shutdown(Duration::from_secs(10)).await.unwrap();
}

/// The status of a write, or `None` where no connection comes about.
async fn write(client: ClientBuilder, url: &str, token: Option<&str>) -> Option<u16> {
    let request = client.build().unwrap().post(url).body(one("up"));
    let request = if let Some(token) = token { request.bearer_auth(token) } else { request };
    request.send().await.ok().map(|answer| answer.status().as_u16())
}

#[tokio::test]
async fn a_client_certificate_says_which_source_it_may_write() {
    let data = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = data.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (servers, clients) = (authority(), authority());
    let (cert, key) = issued(&servers, "localhost");
    let web = format!(
        "tls: {{cert_file: '{}', key_file: '{}', client_ca_file: '{}'}}",
        file("cert.pem", &cert),
        file("key.pem", &key),
        file("clients.pem", &clients.pem())
    );
    let token = file("token", "secret-of-b");
    let sources = format!(
        "[{{name: a, client_cert_names: [a.example]}}, \
         {{name: b, client_cert_names: [b.example], token_file: '{token}'}}]"
    );
    let running = start(data.path(), &sources, &web).await;
    let url = |source: &str| format!("https://localhost:{}/api/v1/write/{source}", running.address().port());
    let root = Certificate::from_pem(servers.pem().as_bytes()).unwrap();
    let plain = || Client::builder().add_root_certificate(root.clone());
    let with = |authority: &Authority, name: &str| {
        let (cert, key) = issued(authority, name);
        plain().identity(Identity::from_pem(format!("{cert}{key}").as_bytes()).unwrap())
    };
    assert_eq!(write(with(&clients, "a.example"), &url("a"), None).await, Some(204));
    assert_eq!(write(with(&clients, "b.example"), &url("a"), None).await, Some(403), "another source's");
    assert_eq!(write(plain(), &url("a"), None).await, Some(401), "none");
    assert_eq!(write(with(&authority(), "a.example"), &url("a"), None).await, None, "another authority");
    assert_eq!(write(with(&clients, "b.example"), &url("b"), None).await, Some(204));
    assert_eq!(write(plain(), &url("b"), Some("secret-of-b")).await, Some(204), "a token is as good");
    assert_eq!(write(Client::builder(), &url("b"), Some("secret-of-b")).await, None, "unknown server");

    // Certificates and tokens are read anew, all or none.
    let renewed = authority();
    let (cert, key) = issued(&renewed, "localhost");
    file("cert.pem", &cert);
    file("token", "renewed");
    let error = running.reload_secrets().await.unwrap_err();
    assert!(matches!(error, StartError::Tls { .. }), "certificate and key do not match: {error}");
    assert_eq!(write(plain(), &url("b"), Some("secret-of-b")).await, Some(204), "all as it was");
    file("key.pem", &key);
    let changed = running.reload_secrets().await.unwrap();
    assert_eq!(changed, ["sources[b].token_file", "web.tls.cert_file", "web.tls.key_file"]);
    assert_eq!(write(plain(), &url("b"), Some("renewed")).await, None, "the old authority");
    let renewed =
        || Client::builder().add_root_certificate(Certificate::from_pem(renewed.pem().as_bytes()).unwrap());
    assert_eq!(write(renewed(), &url("b"), Some("renewed")).await, Some(204));
    assert_eq!(write(renewed(), &url("b"), Some("secret-of-b")).await, Some(403));
    stop(running).await;
}

#[tokio::test]
async fn metrics_and_dead_letters_ask_for_the_token_of_the_web() {
    let data = tempfile::tempdir().unwrap();
    let token = data.path().join("web.token");
    std::fs::write(&token, "secret-of-web").unwrap();
    let web = format!("token_file: '{}'", token.display());
    let running = start(data.path(), "[{name: a}]", &web).await;
    let address = running.address();
    let get = async |path: &str, token: Option<&str>| {
        let request = Client::new().get(format!("http://{address}{path}"));
        let request = if let Some(token) = token { request.bearer_auth(token) } else { request };
        request.send().await.unwrap().status().as_u16()
    };
    for path in ["/metrics", "/api/v1/dead-letters/a"] {
        assert_eq!(get(path, None).await, 401, "{path}");
        assert_eq!(get(path, Some("secret-of-a")).await, 403, "{path}");
        assert_eq!(get(path, Some("secret-of-web")).await, 200, "{path}");
    }
    assert_eq!(get("/-/healthy", None).await, 200);
    assert_eq!(write(Client::builder(), &format!("http://{address}/api/v1/write/a"), None).await, Some(204));
    stop(running).await;
}

/// Sends bytes and returns what comes until the merger ends the connection.
async fn until_closed(address: std::net::SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let read = timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
    let _ = read.expect("the merger ends the connection");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_client_that_sends_slowly_or_too_much_is_cut_off() {
    let data = tempfile::tempdir().unwrap();
    let running = start(data.path(), "[{name: a}]", "read_timeout: 300ms, max_connections: 1").await;
    let address = running.address();
    // Nothing, a part of a head, and a part of a body, each of which has the only place.
    until_closed(address, b"").await;
    until_closed(address, b"POST /api/v1/write/a HTTP/1.1\r\nHost: x\r\nX-Slow").await;
    let body = b"POST /api/v1/write/a HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc";
    let answer = until_closed(address, body).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    let mut head = b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nX-Long: ".to_vec();
    head.resize(1 << 20, b'x');
    let answer = until_closed(address, &head).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
    // The place is free again.
    assert_eq!(write(Client::builder(), &format!("http://{address}/api/v1/write/a"), None).await, Some(204));
    stop(running).await;
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn tokens_are_never_logged() {
    let lines = Lines::default();
    let writer = lines.clone();
    // This test has one thread, and so have the tasks of its merger.
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let data = tempfile::tempdir().unwrap();
    let token = data.path().join("a.token");
    std::fs::write(&token, "secret-of-a").unwrap();
    let sources = format!("[{{name: a, token_file: '{}'}}]", token.display());
    let running = start(data.path(), &sources, "").await;
    let url = format!("http://{}/api/v1/write/a", running.address());
    assert_eq!(write(Client::builder(), &url, Some("secret-of-a")).await, Some(204));
    assert_eq!(write(Client::builder(), &url, Some("secret-of-b")).await, Some(403));
    std::fs::write(&token, "secret-of-c").unwrap();
    running.reload_secrets().await.unwrap();
    assert_eq!(write(Client::builder(), &url, Some("secret-of-a")).await, Some(403));
    stop(running).await;
    drop(guard);
    let text = String::from_utf8_lossy(&lines.0.lock().unwrap()).into_owned();
    assert!(text.contains("listening"), "{text}");
    assert!(!text.contains("secret-of-"), "{text}");
}
