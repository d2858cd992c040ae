//! `--lan`: everything it takes to try Crosspoint from a phone or another computer, made on the spot.
//!
//! Browsers give camera and microphone only to HTTPS pages, so there is a self-signed certificate; whoever is on the
//! network could find the port, so there is a random key inside the link. Both are new at every start. The plain HTTP
//! address on loopback stays as it is, which is also what OBS on this computer needs: it refuses self-signed
//! certificates without a word. Nothing here opens a port.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, SystemTime};

use aws_lc_rs::{digest, rand};
use data_encoding::{BASE32_NOPAD, HEXUPPER};
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::config::{Auth, AuthMode, Key, Secret};

/// The room the printed links lead to.
pub const ROOM: &str = "studio";

/// How long the certificate is good for. Longer: Apple's systems refuse from 825 days on; shorter: a server left
/// running stops working.
const CERTIFICATE_LIFE: Duration = Duration::from_secs(90 * 86_400);

/// How far the clocks of other devices may be behind. Larger harms nothing; smaller: devices with a wrong clock refuse
/// the certificate.
const CLOCK_SKEW: Duration = Duration::from_secs(86_400);

/// Addresses named in the certificate. Larger: a longer handshake; smaller: machines with many interfaces miss some.
const MOST_ADDRESSES: usize = 32;

/// Interface names of container and VM networks, which other devices cannot reach.
const VIRTUAL_INTERFACES: [&str; 10] =
    ["docker", "br-", "veth", "virbr", "lxc", "lxd", "cni", "podman", "vmnet", "vboxnet"];

/// What `--lan` adds to the configuration.
#[derive(Debug)]
pub struct Lan {
    /// Where HTTPS is served, beside `http.listen`.
    pub listen: SocketAddr,
    /// The self-signed certificate.
    pub certificate: CertificateDer<'static>,
    /// Its private key.
    pub private_key: PrivateKeyDer<'static>,
    /// SHA-256 of the certificate, as browsers show it.
    pub fingerprint: String,
    /// The random key in the links; none when `auth.mode` is `open`.
    pub key: Option<Secret>,
    host: IpAddr,
}

/// What [`Lan::prepare`] has to know about this machine.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// Addresses other devices may reach, the likeliest first.
    pub addresses: Vec<IpAddr>,
    /// The machine's name, when it has one.
    pub hostname: Option<String>,
    /// The time, for the certificate.
    pub now: SystemTime,
}

/// `--lan` cannot work.
#[derive(Debug, thiserror::Error)]
pub enum LanError {
    /// The interfaces cannot be listed.
    #[error("--lan: cannot list the network interfaces")]
    Interfaces(#[from] io::Error),
    /// No certificate.
    #[error("--lan: cannot make a certificate")]
    Certificate(#[from] rcgen::Error),
    /// No randomness.
    #[error("--lan: the system gives no random numbers for a key")]
    Randomness,
}

impl Surroundings {
    /// Asks the system.
    ///
    /// # Errors
    /// The interfaces cannot be listed.
    pub fn look() -> Result<Self, LanError> {
        let mut interfaces = if_addrs::get_if_addrs()?;
        interfaces.retain(|interface| interface.is_oper_up() && is_reachable(interface.ip()));
        interfaces.sort_by_key(|interface| unlikeliness(&interface.name, interface.is_p2p(), interface.ip()));
        Ok(Self {
            addresses: interfaces.iter().map(if_addrs::Interface::ip).collect(),
            // Where there is no such file (macOS), links and certificate do with addresses.
            hostname: std::fs::read_to_string("/proc/sys/kernel/hostname").ok(),
            now: SystemTime::now(),
        })
    }
}

impl Lan {
    /// Makes certificate and key, and admits the key for publishing and playing unless everybody may.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub fn prepare(port: u16, auth: &mut Auth, surroundings: &Surroundings) -> Result<Self, LanError> {
        let key = if auth.mode == AuthMode::Open { None } else { Some(random_key()?) };
        auth.keys.extend(key.clone().map(|key| Key { key, ..Key::default() }));
        let (certificate, private_key) = self_signed(surroundings)?;
        Ok(Self {
            listen: SocketAddr::new(every_address(&surroundings.addresses), port),
            fingerprint: fingerprint(&certificate),
            certificate,
            private_key,
            key,
            host: surroundings.addresses.first().copied().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        })
    }

    /// Link to the publish page, key included. `port` is the one that was opened.
    pub fn publish_link(&self, port: u16) -> String {
        self.link("publish", port)
    }

    /// Link to the conference page, key included.
    pub fn meeting_link(&self, port: u16) -> String {
        self.link("room", port)
    }

    /// Link to the watch page, key included.
    pub fn watch_link(&self, port: u16) -> String {
        self.link("watch", port)
    }

    fn link(&self, page: &str, port: u16) -> String {
        let query = self.key.as_ref().map(|key| format!("?token={}", key.expose())).unwrap_or_default();
        format!("https://{}/{page}/{ROOM}{query}", SocketAddr::new(self.host, port))
    }
}

/// A QR code of half-block characters, two modules to a character, dark drawn as filled; none when `text` is too long
/// for one.
pub fn qr_code(text: &str) -> Option<String> {
    Some(QrCode::new(text).ok()?.render::<Dense1x2>().quiet_zone(true).build())
}

/// Lower is likelier to be reached by a phone on the same network.
fn unlikeliness(interface: &str, point_to_point: bool, ip: IpAddr) -> (bool, bool, u8) {
    let virtual_network = VIRTUAL_INTERFACES.iter().any(|prefix| interface.starts_with(prefix));
    let family = match ip {
        IpAddr::V4(ip) if ip.is_private() => 0,
        IpAddr::V4(_) => 1,
        IpAddr::V6(_) => 2,
    };
    (virtual_network, point_to_point, family)
}

fn is_reachable(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local(),
        IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unicast_link_local(),
    }
}

/// `::` takes IPv4 along, but cannot be opened where IPv6 is switched off.
fn every_address(addresses: &[IpAddr]) -> IpAddr {
    if addresses.iter().any(IpAddr::is_ipv6) {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED)
    } else {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED)
    }
}

/// 128 random bits in letters that can be read aloud.
fn random_key() -> Result<Secret, LanError> {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes).map_err(|_| LanError::Randomness)?;
    Ok(Secret::from(BASE32_NOPAD.encode(&bytes).to_ascii_lowercase()))
}

fn self_signed(surroundings: &Surroundings) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>), rcgen::Error> {
    let mut names = vec!["localhost".to_owned(), Ipv4Addr::LOCALHOST.to_string(), Ipv6Addr::LOCALHOST.to_string()];
    names.extend(surroundings.addresses.iter().take(MOST_ADDRESSES).map(ToString::to_string));
    if let Some(hostname) = surroundings.hostname.as_deref().map(str::trim).filter(|name| is_dns_name(name)) {
        names.extend([hostname.to_owned(), format!("{hostname}.local")]);
    }
    let mut parameters = CertificateParams::new(names)?;
    parameters.distinguished_name.push(DnType::CommonName, "Crosspoint, self-signed");
    // Apple's systems ask for it.
    parameters.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
    parameters.not_before = (surroundings.now - CLOCK_SKEW).into();
    parameters.not_after = (surroundings.now + CERTIFICATE_LIFE).into();
    let key = KeyPair::generate()?;
    let certificate = parameters.self_signed(&key)?.der().clone();
    Ok((certificate, PrivatePkcs8KeyDer::from(key.serialize_der()).into()))
}

fn is_dns_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= 63 && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.')
}

fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    let hash = digest::digest(&digest::SHA256, certificate);
    let pairs: Vec<String> = hash.as_ref().iter().map(|byte| HEXUPPER.encode(&[*byte])).collect();
    pairs.join(":")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::pki_types::{ServerName, UnixTime};
    use rustls::{RootCertStore, ServerConfig, client::WebPkiServerVerifier, client::danger::ServerCertVerifier as _};

    use super::*;

    fn surroundings(addresses: &[&str]) -> Surroundings {
        Surroundings {
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            hostname: Some("media-box\n".to_owned()),
            now: SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000),
        }
    }

    fn prepare(auth: &mut Auth, addresses: &[&str]) -> Lan {
        Lan::prepare(8443, auth, &surroundings(addresses)).unwrap()
    }

    #[test]
    fn the_key_in_the_link_is_admitted_and_new_each_time() {
        let mut auth = Auth::default();
        let lan = prepare(&mut auth, &["192.168.1.7"]);
        let key = lan.key.clone().unwrap();
        assert_eq!(key.expose().len(), 26);
        assert_eq!(auth.keys, [Key { key: key.clone(), ..Key::default() }]);
        let link = format!("https://192.168.1.7:8443/publish/studio?token={}", key.expose());
        assert_eq!(lan.publish_link(8443), link);
        assert_ne!(prepare(&mut auth, &[]).key, Some(key));
        assert!(!format!("{lan:?}").contains(lan.key.as_ref().unwrap().expose()));
    }

    #[test]
    fn an_open_server_has_no_key_in_its_links() {
        let mut auth = Auth { mode: AuthMode::Open, keys: Vec::new() };
        let lan = prepare(&mut auth, &["2001:db8::7"]);
        assert_eq!(lan.watch_link(9443), "https://[2001:db8::7]:9443/watch/studio");
        assert_eq!(auth.keys, []);
    }

    #[test]
    fn ipv6_is_opened_only_where_the_machine_has_it() {
        let listen = |addresses: &[&str]| prepare(&mut Auth::default(), addresses).listen.to_string();
        assert_eq!(listen(&["192.168.1.7"]), "0.0.0.0:8443");
        assert_eq!(listen(&["192.168.1.7", "2001:db8::7"]), "[::]:8443");
    }

    #[test]
    fn the_certificate_is_good_for_every_name_of_this_machine_and_for_no_other() {
        let lan = prepare(&mut Auth::default(), &["192.168.1.7", "2001:db8::7"]);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(lan.certificate.clone()).unwrap();
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
        let verify = |name: &str, day: u64| {
            let name = ServerName::try_from(name.to_owned()).unwrap();
            let time = UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000 + day * 86_400));
            verifier.verify_server_cert(&lan.certificate, &[], &name, &[], time)
        };
        for name in ["192.168.1.7", "2001:db8::7", "127.0.0.1", "::1", "localhost", "media-box", "media-box.local"] {
            assert!(verify(name, 0).is_ok(), "{name}: {:?}", verify(name, 0));
        }
        assert!(verify("192.168.1.8", 0).is_err());
        assert!(verify("localhost", 89).is_ok() && verify("localhost", 91).is_err());
        let server = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let key = lan.private_key.clone_key();
        server.with_no_client_auth().with_single_cert(vec![lan.certificate.clone()], key).unwrap();
    }

    #[test]
    fn the_fingerprint_has_the_form_browsers_show() {
        let shown = fingerprint(&CertificateDer::from(b"abc".to_vec()));
        assert!(shown.starts_with("BA:78:16:BF:8F:01:CF:EA:") && shown.len() == 95, "{shown}");
    }

    #[test]
    fn the_address_other_devices_are_likeliest_to_reach_comes_first() {
        let mut table = [
            ("docker0", false, "172.17.0.1"),
            ("wg0", true, "10.8.0.2"),
            ("eth0", false, "2001:db8::7"),
            ("eth1", false, "203.0.113.7"),
            ("wlan0", false, "192.168.1.7"),
        ]
        .map(|(name, point_to_point, ip)| (unlikeliness(name, point_to_point, ip.parse().unwrap()), name));
        table.sort_unstable();
        assert_eq!(table.map(|(_, name)| name), ["wlan0", "eth1", "eth0", "wg0", "docker0"]);
        for ip in ["127.0.0.1", "::1", "169.254.1.1", "fe80::1"] {
            assert!(!is_reachable(ip.parse().unwrap()), "{ip}");
        }
    }

    #[test]
    fn a_link_becomes_a_square_code_with_a_margin() {
        let code = qr_code("https://192.168.1.7:8443/publish/studio?token=abcdefghijklmnopqrstuvwxyz").unwrap();
        let widths: Vec<usize> = code.lines().map(|line| line.chars().count()).collect();
        assert!(widths.iter().all(|width| *width == widths[0] && width.div_ceil(2) == widths.len()), "{code}");
        assert!(code.lines().take(2).all(|line| line.trim().is_empty()), "{code}");
        assert!(code.chars().all(|c| " ▀▄█\n".contains(c)), "{code}");
        assert_eq!(qr_code(&"x".repeat(4000)), None);
    }
}
