//! A server that asks for the client's certificate.

use std::{net::SocketAddr, sync::Arc};

use prom_remote_http::{ClientConfig, ClientConfigError, Secret, WriteClient, WriteError};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig,
        crypto::aws_lc_rs::default_provider,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
        server::WebPkiClientVerifier,
    },
};

/// A certificate and its key, as PEM.
struct Pair {
    certificate: String,
    key: String,
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn issued(authority: &CertifiedIssuer<'static, KeyPair>, name: &str) -> Pair {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    Pair { certificate: certificate.pem(), key: key.serialize_pem() }
}

/// Answers each connection once with 204, if its client shows a certificate of the authority.
async fn serve(authority_pem: &str, server: &Pair) -> SocketAddr {
    let provider = Arc::new(default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority_pem.as_bytes()).unwrap()).unwrap();
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
    let chain = vec![CertificateDer::from_pem_slice(server.certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(server.key.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let Ok(mut connection) = acceptor.accept(connection).await else { continue };
            let mut head = vec![0; 4_096];
            let _ = connection.read(&mut head).await;
            let _ = connection.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await;
            let _ = connection.shutdown().await;
        }
    });
    address
}

#[tokio::test]
async fn a_client_shows_its_certificate_and_checks_the_servers() {
    let authority = authority();
    let (server, client) = (issued(&authority, "localhost"), issued(&authority, "sender"));
    let port = serve(&authority.pem(), &server).await.port();
    let send = async |root: Option<String>, identity: Option<&Pair>| {
        let mut config = ClientConfig::new(&format!("https://localhost:{port}/write")).unwrap();
        config.tls.extra_roots_pem.extend(root);
        config.tls.identity_pem =
            identity.map(|pair| Secret::new(format!("{}{}", pair.certificate, pair.key)));
        WriteClient::new(config).unwrap().send_v1(vec![0].into()).await.map(|written| written.status)
    };
    assert_eq!(send(Some(authority.pem()), Some(&client)).await, Ok(204));
    let refused = |result: Result<u16, WriteError>| result.unwrap_err().status().is_none();
    assert!(refused(send(Some(authority.pem()), None).await), "no certificate");
    let stranger = issued(&self::authority(), "sender");
    assert!(refused(send(Some(authority.pem()), Some(&stranger)).await), "another authority's certificate");
    assert!(refused(send(None, Some(&client)).await), "a server that the client does not trust");
}

#[test]
fn what_is_no_pem_is_refused_with_the_name_of_the_setting() {
    let mut config = ClientConfig::new("https://localhost/write").unwrap();
    config.tls.identity_pem = Some(Secret::new("hush"));
    let error = WriteClient::new(config).unwrap_err();
    assert!(matches!(error, ClientConfigError::Certificate { what: "identity_pem", .. }), "{error:?}");
    assert!(!format!("{error:?}").contains("hush"));
}
