//! The command line. `--help` is the short manual; `--set` reaches every key.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Port of `--lan` unless another is given: not 443, which needs rights, and not 8080, which plain HTTP has.
pub const LAN_PORT: u16 = 8443;

/// Crosspoint, a Selective Forwarding Unit: people meet in rooms; streams come in by WHIP and go out by WHEP.
///
/// Without any flag it serves this computer: pages and HTTP on 127.0.0.1:8080, media on port 3478.
///
///   Meet in a browser         http://127.0.0.1:8080/room/studio
///   Publish from a browser    http://127.0.0.1:8080/publish/studio
///   Watch                     http://127.0.0.1:8080/watch/studio
///   Publish from OBS (WHIP)   http://127.0.0.1:8080/whip/studio
///
/// "studio" is the room; any name will do. To try it from a phone or another computer: crosspoint --lan
#[derive(Debug, Clone, Default, Parser)]
#[command(
    name = "crosspoint",
    version,
    verbatim_doc_comment,
    after_help = "Values are taken from, each overriding the one before: the defaults, the file, the environment \
                  (CROSSPOINT_MEDIA_PORT sets media.port, and so on for every key), the flags. Lists are separated by \
                  commas. `crosspoint --print-config` shows every key with its default and its reason."
)]
pub struct Flags {
    /// What to do instead of serving
    #[arg(value_enum, value_name = "COMMAND")]
    pub task: Option<Task>,

    /// Configuration file (TOML) [env: CROSSPOINT_CONFIG]
    #[arg(long, value_name = "FILE", help_heading = "Configuration")]
    pub config: Option<PathBuf>,

    /// Set any key, for example --set rooms.resume_window=10s; may be repeated
    #[arg(long, value_name = "KEY=VALUE", help_heading = "Configuration", value_parser = assignment)]
    pub set: Vec<(String, String)>,

    /// Print the annotated configuration file with all defaults, and exit
    #[arg(long, help_heading = "Configuration")]
    pub print_config: bool,

    /// Serve the local network too: HTTPS on every interface with a self-signed certificate made now, and a link with
    /// a random key, shown as a QR code. PORT is 8443 unless given
    #[arg(
        long,
        value_name = "PORT",
        help_heading = "Try it from another device",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "8443"
    )]
    pub lan: Option<u16>,

    /// Address and port of the pages, WHIP, WHEP and the API [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS:PORT", help_heading = "HTTP")]
    http_listen: Option<String>,

    /// PEM file with the certificate chain: speak HTTPS. Needs --http-tls-key
    #[arg(long, value_name = "FILE", help_heading = "HTTP")]
    http_tls_cert: Option<String>,

    /// PEM file with the private key of the certificate
    #[arg(long, value_name = "FILE", help_heading = "HTTP")]
    http_tls_key: Option<String>,

    /// UDP port of media and STUN, on all interfaces [default: 3478]
    #[arg(long, value_name = "PORT", help_heading = "Media")]
    media_port: Option<String>,

    /// Addresses clients are told instead of those of the interfaces: behind 1:1 NAT, in a container
    #[arg(long, value_name = "IP,...", help_heading = "Media")]
    media_public_ip: Option<String>,

    /// STUN server asked at start for the public address
    #[arg(long, value_name = "HOST:PORT", help_heading = "Media")]
    media_stun_server: Option<String>,

    /// Threads that forward media [default: 0, one per core]
    #[arg(long, value_name = "NUMBER", help_heading = "Media")]
    media_shards: Option<String>,

    /// Whether a key is needed: auto (when there are keys; without keys HTTP must be on loopback), open (never), keys
    /// (always) [default: auto]
    #[arg(long, value_name = "MODE", help_heading = "Access")]
    auth_mode: Option<String>,

    /// Keys good for publishing and playing in every room. Other users of this computer can read a command line;
    /// prefer CROSSPOINT_AUTH_KEYS or the file
    #[arg(long, value_name = "KEY,...", help_heading = "Access")]
    auth_keys: Option<String>,

    /// STUN and TURN servers clients are told to use
    #[arg(long, value_name = "URL,...", help_heading = "Access")]
    ice_servers: Option<String>,

    /// text or json, on standard error [default: text]
    #[arg(long, value_name = "FORMAT", help_heading = "Log")]
    log_format: Option<String>,

    /// Level, or module=level separated by commas: error, warn, info, debug [default: info]
    #[arg(long, value_name = "FILTER", help_heading = "Log")]
    log_filter: Option<String>,
}

/// What to do instead of serving.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Task {
    /// Ask whether this server can be reached at the addresses it tells clients, and exit: 0 if so
    Check,
    /// Ask the server that runs with this configuration whether it is ready for sessions, and exit: 0 if so
    Ready,
}

impl Flags {
    /// What the flags set: the flag, the key, the value. `--set` comes last.
    pub(super) fn settings(&self) -> impl Iterator<Item = (String, String, &str)> {
        let named = [
            ("http", "listen", &self.http_listen),
            ("http", "tls_cert", &self.http_tls_cert),
            ("http", "tls_key", &self.http_tls_key),
            ("media", "port", &self.media_port),
            ("media", "public_ip", &self.media_public_ip),
            ("media", "stun_server", &self.media_stun_server),
            ("media", "shards", &self.media_shards),
            ("auth", "mode", &self.auth_mode),
            ("auth", "keys", &self.auth_keys),
            ("ice", "servers", &self.ice_servers),
            ("log", "format", &self.log_format),
            ("log", "filter", &self.log_filter),
        ];
        let named = named.into_iter().filter_map(|(section, name, value)| {
            let flag = format!("--{section}-{}", name.replace('_', "-"));
            Some((flag, format!("{section}.{name}"), value.as_deref()?))
        });
        named.chain(self.set.iter().map(|(key, value)| (format!("--set {key}"), key.clone(), value.as_str())))
    }
}

fn assignment(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("write a key, = and a value, like {text}=VALUE"))?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}
