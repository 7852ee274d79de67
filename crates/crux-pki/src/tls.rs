//! TLS settings for every door: mutual certificates, TLS 1.3 only, one post-quantum key exchange, nothing kept.
//!
//! Kept sessions would let an expelled node back in without its certificate being looked at again, so there are no
//! tickets, no session storage, no resumption and no early data. Server names are not used: who the peer is stands in its
//! certificate, which [`Trust`] judges.

use crate::bundle::Bundle;
use crate::files::PkiError;
use crate::identity::RoleKind;
use crate::live::{LiveBundle, LiveTrust};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, Error as TlsError, NoKeyLog, ServerConfig, SignatureScheme,
};
use std::sync::Arc;

/// aws-lc-rs with X25519MLKEM768 as the only group: all peers are ours, so there is nothing to downgrade to.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider { kx_groups: vec![aws_lc_rs::kx_group::X25519MLKEM768], ..aws_lc_rs::default_provider() })
}

/// One verifier for both sides.
#[derive(Debug)]
struct Verifier {
    trust: LiveTrust,
    roles: Vec<RoleKind>,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    fn check(&self, leaf: &CertificateDer<'_>, rest: &[CertificateDer<'_>], now: UnixTime) -> Result<(), TlsError> {
        let chain: Vec<CertificateDer<'_>> = std::iter::once(leaf).chain(rest).cloned().collect();
        let verdict = self.trust.load().verify_chain(&chain, now.as_secs());
        // A general error because its text travels to the other side, whose operator is the one who must act.
        verdict.and_then(|peer| peer.require(&self.roles)).map_err(|refusal| TlsError::General(refusal.to_string()))
    }

    fn signed(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }
}

fn no_tls12() -> TlsError {
    TlsError::General("crux speaks TLS 1.3 only".to_owned())
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, TlsError> {
        self.check(leaf, rest, now).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.signed(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519, SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        self.check(leaf, rest, now).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.signed(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519, SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

/// The accepting side: shows the bundle's certificate and admits only peers of these roles. Roots that are exchanged in a
/// [`LiveTrust`] count from the next handshake on; to exchange the certificate too, see [`live_server_config`].
///
/// # Errors
/// [`PkiError::Tls`] if key and certificate cannot be used together.
pub fn server_config(
    bundle: &Bundle,
    trust: impl Into<LiveTrust>,
    roles: &[RoleKind],
    alpn: &[&[u8]],
) -> Result<ServerConfig, PkiError> {
    Ok(server(Arc::new(LiveBundle::with_trust(bundle.clone(), trust.into())?), roles, alpn))
}

/// The accepting side with what a [`LiveBundle`] holds at the moment of each handshake.
#[must_use]
pub fn live_server_config(live: &LiveBundle, roles: &[RoleKind], alpn: &[&[u8]]) -> ServerConfig {
    server(Arc::new(live.clone()), roles, alpn)
}

fn server(live: Arc<LiveBundle>, roles: &[RoleKind], alpn: &[&[u8]]) -> ServerConfig {
    let provider = provider();
    let verifier =
        Arc::new(Verifier { trust: live.trust().clone(), roles: roles.to_vec(), provider: provider.clone() });
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider has suites of TLS 1.3")
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(live);
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.max_early_data_size = 0;
    config.key_log = Arc::new(NoKeyLog {});
    config
}

/// The dialling side: shows the bundle's certificate and talks only to peers of these roles.
///
/// # Errors
/// [`PkiError::Tls`] if key and certificate cannot be used together.
pub fn client_config(
    bundle: &Bundle,
    trust: impl Into<LiveTrust>,
    roles: &[RoleKind],
    alpn: &[&[u8]],
) -> Result<ClientConfig, PkiError> {
    Ok(client(Arc::new(LiveBundle::with_trust(bundle.clone(), trust.into())?), roles, alpn))
}

/// The dialling side with what a [`LiveBundle`] holds at the moment of each handshake.
#[must_use]
pub fn live_client_config(live: &LiveBundle, roles: &[RoleKind], alpn: &[&[u8]]) -> ClientConfig {
    client(Arc::new(live.clone()), roles, alpn)
}

fn client(live: Arc<LiveBundle>, roles: &[RoleKind], alpn: &[&[u8]]) -> ClientConfig {
    let provider = provider();
    let verifier =
        Arc::new(Verifier { trust: live.trust().clone(), roles: roles.to_vec(), provider: provider.clone() });
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider has suites of TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(live);
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config.enable_sni = false;
    config.key_log = Arc::new(NoKeyLog {});
    config
}
