//! The keys a DTLS handshake exported, handed from the engine's DTLS to the peer that runs it.
//!
//! str0m keeps them to itself, but takes any DTLS provider: this one is str0m's own with a look at what it exports. Its
//! instances run only inside calls of their engine, and the peer makes those calls: what an instance lays down in this
//! thread's place, the peer takes up when the call returns ([`take`]), so nobody else ever finds it there. That place
//! is the one exception to "nothing is shared" in the core; the provider's interface leaves no other.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Instant;

use str0m::RtcConfig;
use str0m::config::{CryptoProvider, DtlsCert, DtlsVersion};
use str0m::crypto::dtls::{DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, ProtocolVersion, SrtpProfile};
use str0m::crypto::{CryptoError, from_feature_flags};

use crate::srtp::{MasterKeys, Profile, Side};

thread_local! {
    static EXPORTED: Cell<Option<MasterKeys>> = const { Cell::new(None) };
}

/// Has an engine's keys exported.
pub(in crate::sfu) fn exporting(config: RtcConfig) -> RtcConfig {
    static PROVIDER: Provider = Provider;
    config.set_crypto_provider(Arc::new(CryptoProvider { dtls_provider: &PROVIDER, ..from_feature_flags() }))
}

/// What the engine exported in the call that has just returned; nothing for profiles other than AES-GCM.
pub(super) fn take() -> Option<MasterKeys> {
    EXPORTED.take()
}

#[derive(Debug)]
struct Provider;

#[derive(Debug)]
struct Instance(Box<dyn DtlsInstance>);

impl DtlsProvider for Provider {
    fn generate_certificate(&self) -> Option<DtlsCert> {
        from_feature_flags().dtls_provider.generate_certificate()
    }

    fn new_dtls(
        &self,
        certificate: &DtlsCert,
        now: Instant,
        version: DtlsVersion,
        mtu: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        let instance = from_feature_flags().dtls_provider.new_dtls(certificate, now, version, mtu)?;
        Ok(Box::new(Instance(instance)))
    }
}

impl DtlsInstance for Instance {
    fn poll_output<'a>(&mut self, buffer: &'a mut [u8]) -> DtlsOutput<'a> {
        let output = self.0.poll_output(buffer);
        if let DtlsOutput::KeyingMaterial(material, profile) = &output {
            let side = if self.0.is_active() { Side::Client } else { Side::Server };
            let profile = match *profile {
                SrtpProfile::AEAD_AES_128_GCM => Some(Profile::Aes128Gcm),
                SrtpProfile::AEAD_AES_256_GCM => Some(Profile::Aes256Gcm),
                _ => None,
            };
            EXPORTED.set(profile.and_then(|profile| MasterKeys::from_exported(profile, material, side)));
        }
        output
    }

    fn set_active(&mut self, active: bool) {
        self.0.set_active(active);
    }

    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        self.0.handle_packet(packet)
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        self.0.handle_timeout(now)
    }

    fn send_application_data(&mut self, data: &[u8]) -> Result<usize, DtlsImplError> {
        self.0.send_application_data(data)
    }

    fn is_active(&self) -> bool {
        self.0.is_active()
    }

    fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.0.protocol_version()
    }

    fn is_closing(&self) -> bool {
        self.0.is_closing()
    }

    fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    fn close(&mut self) -> Result<(), DtlsImplError> {
        self.0.close()
    }
}
