//! What no single value shows: keys that need each other, and texts whose meaning is more than their syntax.

use std::collections::BTreeMap;
use std::time::Duration;

use tracing_subscriber::EnvFilter;

use super::problem::{Place, Problem};
use super::{AuthMode, Config, IceServer, Key, Turn};

/// Shortest key that is accepted, in characters. Longer: nobody can type it; shorter: it can be guessed (16 letters and
/// digits are 82 bits).
const SHORTEST_KEY: usize = 16;

/// Most keys; each request is compared with all of them. Larger: slower requests; smaller: fewer publishers with a key
/// of their own.
const MOST_KEYS: usize = 1000;

/// Most ICE servers: browsers gather from each and warn from five on. Larger: slower starts of every client.
const MOST_ICE_SERVERS: usize = 8;

/// Longest `timeouts.consent`: RFC 7675 section 5.1 forbids sending for longer without consent.
const LONGEST_CONSENT: Duration = Duration::from_secs(30);

/// Every problem of a configuration whose values are each well-formed. `lan`: `--lan` will add a key.
pub(super) fn check(config: &Config, lan: Option<u16>, places: &BTreeMap<String, Place>) -> Vec<Problem> {
    let mut checks = Checks { places, problems: Vec::new() };
    checks.http(config);
    checks.media(config);
    if config.timeouts.consent > LONGEST_CONSENT {
        checks.refuse("timeouts.consent", "`timeouts.consent` is longer than RFC 7675 allows; at most \"30s\"");
    }
    checks.access(config, lan.is_some());
    checks.keys(&config.auth.keys);
    checks.ice_servers(&config.ice.servers);
    checks.turn(&config.turn);
    if let Err(error) = EnvFilter::try_new(&config.log.filter) {
        let what = format!("`log.filter`: {error}; write a level (error, warn, info, debug), or module=level, ...");
        checks.refuse("log.filter", what);
    }
    checks.problems
}

struct Checks<'a> {
    places: &'a BTreeMap<String, Place>,
    problems: Vec<Problem>,
}

impl Checks<'_> {
    fn http(&mut self, config: &Config) {
        match (&config.http.tls_cert, &config.http.tls_key) {
            (Some(_), None) => self.refuse("http.tls_cert", "`http.tls_cert` needs `http.tls_key`, its private key"),
            (None, Some(_)) => self.refuse("http.tls_key", "`http.tls_key` needs `http.tls_cert`, its certificate"),
            _ => {}
        }
        for origin in config.http.allowed_origins.iter().filter(|origin| !is_origin(origin)) {
            let what = format!(
                "`http.allowed_origins`: \"{origin}\" is not an origin; write \"*\", or scheme and host without a \
                 path, like \"https://example.org\""
            );
            self.refuse("http.allowed_origins", what);
        }
    }

    fn media(&mut self, config: &Config) {
        for ip in config.media.public_ip.iter().filter(|ip| ip.is_unspecified() || ip.is_multicast()) {
            let what = format!("`media.public_ip`: {ip} is no address a client could send to; give the public one");
            self.refuse("media.public_ip", what);
        }
        if config.media.bind.is_multicast() {
            self.refuse(
                "media.bind",
                "`media.bind` is a multicast address; give one of this machine's, or \"::\" for all",
            );
        }
        if let Some(server) = config.media.stun_server.as_deref().filter(|server| !is_host_and_port(server)) {
            let what = format!(
                "`media.stun_server`: \"{server}\" is not a host and a port; write it like \"stun.example.org:3478\", \
                 without \"stun:\""
            );
            self.refuse("media.stun_server", what);
        }
    }

    fn access(&mut self, config: &Config, lan: bool) {
        if config.auth.mode == AuthMode::Open && !config.auth.keys.is_empty() {
            self.refuse(
                "auth.mode",
                "`auth.mode` is \"open\", so everybody may publish and watch, and yet there are keys; take the keys \
                 away, or set auth.mode = \"auto\" to ask for them",
            );
        }
        if lan || !config.auth.keys.is_empty() {
            return;
        }
        let listen = config.http.listen;
        match config.auth.mode {
            AuthMode::Keys => self.refuse(
                "auth.mode",
                "`auth.mode` is \"keys\" but there is no key; add one: [[auth.keys]] in the file, CROSSPOINT_AUTH_KEYS \
                 or --auth-keys",
            ),
            AuthMode::Auto if !listen.ip().is_loopback() => self.refuse(
                "http.listen",
                format!(
                    "`http.listen` = \"{listen}\" would let everybody who reaches it publish and watch, for there \
                     is no key. Either add a key ([[auth.keys]] in the file, CROSSPOINT_AUTH_KEYS or --auth-keys); \
                     or, if everybody may, say so with auth.mode = \"open\"; or listen on 127.0.0.1:{}. To try it \
                     from another device: crosspoint --lan",
                    listen.port()
                ),
            ),
            AuthMode::Auto | AuthMode::Open => {}
        }
    }

    fn keys(&mut self, keys: &[Key]) {
        if keys.len() > MOST_KEYS {
            self.refuse("auth.keys", format!("`auth.keys`: {} keys; at most {MOST_KEYS} are accepted", keys.len()));
        }
        // A key is named by its position: its text must not reach a log.
        for (i, key) in keys.iter().enumerate() {
            let name = format!("`auth.keys`: key {}", i + 1);
            let text = key.key.expose();
            if text.chars().count() < SHORTEST_KEY {
                let what = format!(
                    "{name} is shorter than {SHORTEST_KEY} characters and could be guessed; `openssl rand -hex 16` \
                     makes a good one"
                );
                self.refuse("auth.keys", what);
            }
            if !text.chars().all(|c| c.is_ascii_graphic() && c != ',') {
                let what =
                    format!("{name} has characters that an HTTP header does not carry; use letters, digits and -._~");
                self.refuse("auth.keys", what);
            }
            if let Some(earlier) = keys.iter().take(i).position(|earlier| earlier.key == key.key) {
                self.refuse("auth.keys", format!("{name} is the same as key {}; each must be different", earlier + 1));
            }
            if !(key.publish || key.play || key.admin) || key.rooms.is_empty() {
                let what =
                    format!("{name} allows nothing; give it publish, play or admin, and rooms = [\"*\"] for all");
                self.refuse("auth.keys", what);
            }
        }
    }

    fn ice_servers(&mut self, servers: &[IceServer]) {
        if servers.len() > MOST_ICE_SERVERS {
            let what = format!("`ice.servers`: {} servers; at most {MOST_ICE_SERVERS} are accepted", servers.len());
            self.refuse("ice.servers", what);
        }
        for (i, server) in servers.iter().enumerate() {
            let name = format!("`ice.servers`: server {}", i + 1);
            if server.urls.is_empty() {
                self.refuse("ice.servers", format!("{name} has no urls"));
            }
            for url in server.urls.iter().filter(|url| !is_ice_url(url)) {
                let what = format!(
                    "{name}: \"{url}\" is not an ICE server; write stun:host:port, turn:host:port?transport=udp or \
                     turns:host:port"
                );
                self.refuse("ice.servers", what);
            }
            let username = server.username.as_deref().unwrap_or_default();
            if server.urls.iter().any(|url| url.starts_with("turn"))
                && (username.is_empty() || server.credential.is_empty())
            {
                self.refuse("ice.servers", format!("{name} is TURN and needs username and credential"));
            }
            // They travel in a Link header, which OBS cuts at these characters wherever they stand.
            if [username, server.credential.expose()].iter().any(|text| text.contains([',', ';', '"'])) {
                self.refuse("ice.servers", format!("{name}: username and credential must not contain , ; or \""));
            }
        }
    }

    fn turn(&mut self, turn: &Turn) {
        let secret = turn.secret.expose();
        if !secret.is_empty() && secret.chars().count() < SHORTEST_KEY {
            let what = format!(
                "`turn.secret` is shorter than {SHORTEST_KEY} characters and could be guessed; `openssl rand -hex 16` \
                 makes a good one"
            );
            self.refuse("turn.secret", what);
        }
        if let Some(host) = turn.host.as_deref().filter(|host| !host.chars().all(is_host_character)) {
            let what =
                format!("`turn.host`: \"{host}\" is not a name or an address; write one without scheme and port");
            self.refuse("turn.host", what);
        }
    }

    fn refuse(&mut self, path: &str, what: impl Into<String>) {
        let place = self.places.get(path).cloned().unwrap_or(Place::Default);
        self.problems.push(Problem::new(place, what));
    }
}

fn is_origin(text: &str) -> bool {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    text == "*" || host.is_some_and(|host| !host.is_empty() && host.chars().all(is_host_character))
}

fn is_host_and_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let valid_host = match bracketed {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.chars().all(|c| is_host_character(c) && !"[:]".contains(c)),
    };
    valid_host && port.parse::<u16>().is_ok_and(|port| port > 0)
}

fn is_ice_url(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    let host = rest.split_once('?').map_or(rest, |(host, _)| host);
    ["stun", "stuns", "turn", "turns"].contains(&scheme)
        && !host.is_empty()
        && host.chars().all(is_host_character)
        && rest.chars().all(|c| c.is_ascii_graphic() && !",;<>\"".contains(c))
}

fn is_host_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._:[]".contains(c)
}
