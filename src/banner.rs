//! What the program says when it is ready: the addresses a person needs, and nothing else.

use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};
use std::net::SocketAddr;

use crate::config::{Authentication, LogFormat};
use crate::lan::{self, Lan, ROOM};

/// Black on white, whatever the colours of the terminal are: many scanners do not read an inverted code.
const BLACK_ON_WHITE: &str = "\x1b[30;107m";
const PLAIN: &str = "\x1b[0m";

/// The facts.
#[derive(Debug)]
pub struct Banner<'a> {
    /// Address of `http.listen` as it was opened.
    pub http: SocketAddr,
    /// It speaks HTTPS.
    pub tls: bool,
    /// Whether a key is needed.
    pub authentication: Authentication,
    /// Where clients are told to send media, as a sentence.
    pub media: &'a str,
    /// `--lan`, with the address it was opened on.
    pub lan: Option<(&'a Lan, SocketAddr)>,
}

impl Banner<'_> {
    /// Writes it: to standard output for people; with `json` and without `--lan` as one log event, since the log of a
    /// container is usually both streams, and read by a program.
    pub fn announce(&self, format: LogFormat) {
        if format == LogFormat::Json && self.lan.is_none() {
            let [meet, publish, watch, whip] = ["room", "publish", "watch", "whip"].map(|page| self.url(page));
            tracing::info!(meet, publish, watch, whip, media = self.media, "ready");
            return;
        }
        let mut stdout = io::stdout().lock();
        // Nobody may be reading; the server works all the same.
        let _ = write!(stdout, "{self}");
        if stdout.is_terminal()
            && let Some(code) = self.qr_code()
        {
            let _ = write!(stdout, "{code}");
        }
        let _ = stdout.flush();
    }

    /// The code of the link for other devices, coloured for a terminal.
    fn qr_code(&self) -> Option<String> {
        let (lan, address) = self.lan?;
        let code = lan::qr_code(&lan.publish_link(address.port()))?;
        Some(code.lines().map(|line| format!("  {BLACK_ON_WHITE}{line}{PLAIN}\n")).chain(["\n".to_owned()]).collect())
    }

    fn url(&self, page: &str) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        if self.http.ip().is_unspecified() {
            return format!("{scheme}://localhost:{}/{page}/{ROOM}", self.http.port());
        }
        format!("{scheme}://{}/{page}/{ROOM}", self.http)
    }
}

impl fmt::Display for Banner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.lan.and_then(|(lan, _)| lan.key.as_ref());
        let query = key.map(|key| format!("?token={}", key.expose())).unwrap_or_default();
        let token = match (key, self.authentication) {
            (Some(key), _) => key.expose(),
            (None, Authentication::Keys) => "one of auth.keys",
            (None, Authentication::Open) => "leave empty",
        };
        writeln!(f, "Crosspoint {} is ready.\n", env!("CARGO_PKG_VERSION"))?;
        writeln!(f, "  Meet in a browser        {}{query}", self.url("room"))?;
        writeln!(f, "  Publish from a browser   {}{query}", self.url("publish"))?;
        writeln!(f, "  Watch                    {}{query}", self.url("watch"))?;
        writeln!(f, "  Publish from OBS         {}", self.url("whip"))?;
        writeln!(f, "                           Settings, Stream: Service WHIP, Server the line above,")?;
        writeln!(f, "                           Bearer Token {token}\n")?;
        if self.http.ip().is_unspecified() {
            writeln!(f, "  localhost stands for any name or address of this machine.")?;
        }
        if self.authentication == Authentication::Keys && key.is_none() {
            writeln!(f, "  The pages need a key: add ?token= and one of auth.keys.")?;
        }
        writeln!(f, "  \"{ROOM}\" is the room; any name will do.")?;
        writeln!(f, "  Media: {}\n", self.media)?;
        let Some((lan, address)) = self.lan else { return Ok(()) };
        writeln!(f, "From another device on this network; its browser will warn about the certificate, go on:\n")?;
        writeln!(f, "  Meet                     {}", lan.meeting_link(address.port()))?;
        writeln!(f, "  Publish                  {}", lan.publish_link(address.port()))?;
        writeln!(f, "  Watch                    {}", lan.watch_link(address.port()))?;
        writeln!(f, "  Certificate (SHA-256)    {}", lan.fingerprint)?;
        writeln!(f, "  OBS on another computer refuses this certificate; it needs a trusted one (http.tls_cert).\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Auth;
    use crate::lan::Surroundings;

    const OPEN: &str = r#"Crosspoint 0.1.0 is ready.

  Meet in a browser        http://127.0.0.1:8080/room/studio
  Publish from a browser   http://127.0.0.1:8080/publish/studio
  Watch                    http://127.0.0.1:8080/watch/studio
  Publish from OBS         http://127.0.0.1:8080/whip/studio
                           Settings, Stream: Service WHIP, Server the line above,
                           Bearer Token leave empty

  "studio" is the room; any name will do.
  Media: advertising 192.168.1.7:3478 (interfaces)

"#;

    const LAN: &str = r#"Crosspoint 0.1.0 is ready.

  Meet in a browser        http://127.0.0.1:8080/room/studio?token=KEY
  Publish from a browser   http://127.0.0.1:8080/publish/studio?token=KEY
  Watch                    http://127.0.0.1:8080/watch/studio?token=KEY
  Publish from OBS         http://127.0.0.1:8080/whip/studio
                           Settings, Stream: Service WHIP, Server the line above,
                           Bearer Token KEY

  "studio" is the room; any name will do.
  Media: advertising 192.168.1.7:3478 (interfaces)

From another device on this network; its browser will warn about the certificate, go on:

  Meet                     https://192.168.1.7:8443/room/studio?token=KEY
  Publish                  https://192.168.1.7:8443/publish/studio?token=KEY
  Watch                    https://192.168.1.7:8443/watch/studio?token=KEY
  Certificate (SHA-256)    FINGERPRINT
  OBS on another computer refuses this certificate; it needs a trusted one (http.tls_cert).

"#;

    fn banner() -> Banner<'static> {
        Banner {
            http: "127.0.0.1:8080".parse().unwrap(),
            tls: false,
            authentication: Authentication::Open,
            media: "advertising 192.168.1.7:3478 (interfaces)",
            lan: None,
        }
    }

    fn lan() -> Lan {
        let surroundings = Surroundings {
            addresses: vec!["192.168.1.7".parse().unwrap()],
            hostname: None,
            now: std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_800_000_000),
        };
        Lan::prepare(8443, &mut Auth::default(), &surroundings).unwrap()
    }

    #[test]
    fn without_configuration_the_addresses_a_person_needs_are_shown() {
        assert_eq!(banner().to_string(), OPEN);
    }

    #[test]
    fn with_lan_the_links_for_other_devices_and_the_fingerprint_are_shown() {
        let lan = lan();
        let authentication = Authentication::Keys;
        let shown = Banner { authentication, lan: Some((&lan, lan.listen)), ..banner() };
        let expected = LAN.replace("KEY", lan.key.as_ref().unwrap().expose()).replace("FINGERPRINT", &lan.fingerprint);
        assert_eq!(shown.to_string(), expected);
        assert!(shown.qr_code().unwrap().lines().filter(|line| !line.is_empty()).all(|line| line.ends_with(PLAIN)));
    }

    #[test]
    fn with_keys_the_banner_says_where_a_key_goes_and_shows_none() {
        let shown = Banner {
            http: "0.0.0.0:443".parse().unwrap(),
            tls: true,
            authentication: Authentication::Keys,
            ..banner()
        };
        let shown = shown.to_string();
        for expected in [
            "  Watch                    https://localhost:443/watch/studio\n",
            "  localhost stands for any name or address of this machine.\n",
            "Bearer Token one of auth.keys\n",
            "  The pages need a key: add ?token= and one of auth.keys.\n",
        ] {
            assert!(shown.contains(expected), "{shown}");
        }
    }
}
