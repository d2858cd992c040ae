//! The configuration as people meet it: the manual, the four sources, the errors.

use clap::{CommandFactory as _, Parser as _};

use super::source::File;
use super::*;

/// Keys that pass the checks.
const KEY: &str = "0123456789abcdef";

fn file(text: &str) -> Result<Config, LoadError> {
    load(text, &[], &[])
}

fn load(text: &str, environment: &[(&str, &str)], flags: &[&str]) -> Result<Config, LoadError> {
    let environment: Vec<_> = environment.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    let flags = Flags::try_parse_from([&["crosspoint"], flags].concat()).unwrap();
    Config::assemble(Some(File { name: "my.toml", text }), &environment, &flags)
}

fn refusals(loaded: Result<Config, LoadError>) -> Vec<String> {
    match loaded {
        Ok(_) => Vec::new(),
        Err(LoadError::Invalid(problems)) => problems.iter().map(ToString::to_string).collect(),
        Err(unreadable) => panic!("{unreadable}"),
    }
}

#[test]
fn the_manual_says_what_the_defaults_are() {
    assert_eq!(file(MANUAL).unwrap(), Config::default());
    assert_eq!(file("").unwrap(), Config::default());
}

#[test]
fn the_manual_explains_every_key_and_no_other() {
    let in_manual: toml::Table = toml::from_str(MANUAL).unwrap();
    let in_config = toml::Table::try_from(Config::default()).unwrap();
    assert_eq!(in_manual, in_config);
    // A reason stands above each key, or above the key before it where two belong together.
    let mut explained = false;
    for line in MANUAL.lines() {
        match line {
            _ if line.starts_with("# ") => explained = true,
            "" => explained = false,
            _ if line.starts_with('[') || line == "#" => {}
            _ => assert!(explained, "no comment above: {line}"),
        }
    }
}

#[test]
fn the_examples_in_the_manual_are_valid_and_show_every_key_of_a_table() {
    let examples: Vec<&str> = MANUAL.lines().filter_map(|line| line.strip_prefix("#     ")).collect();
    let config = file(&examples.join("\n")).unwrap();
    let shown: toml::Table = toml::from_str(&examples.join("\n")).unwrap();
    let keys = |table: &toml::Value| table.as_table().unwrap().keys().cloned().collect::<Vec<_>>();
    let full = [toml::Value::try_from(Key::default()), toml::Value::try_from(IceServer::default())];
    for ((section, list), full) in [("auth", "keys"), ("ice", "servers")].iter().zip(full) {
        assert_eq!(keys(&shown[*section][*list][0]), keys(&full.unwrap()));
    }
    assert_eq!(config.auth.keys[0].identity.as_deref(), Some("camera-1"));
}

#[test]
fn each_source_overrides_the_one_before() {
    let text = "[media]\nport = 1\nshards = 1\nsocket_buffer = \"1MiB\"\n[rooms]\nresume_window = \"1m\"";
    let environment = [("CROSSPOINT_MEDIA_PORT", "2"), ("CROSSPOINT_MEDIA_SHARDS", "2")];
    let config = load(text, &environment, &["--media-port", "3", "--set", "rooms.max_viewers=4"]).unwrap();
    assert_eq!((config.media.port, config.media.shards, config.media.socket_buffer), (3, 2, 1 << 20));
    assert_eq!((config.rooms.resume_window.as_secs(), config.rooms.max_viewers), (60, 4));
}

#[test]
fn a_list_is_separated_by_commas_outside_the_file_and_a_text_stands_for_a_table() {
    let environment = [
        ("CROSSPOINT_MEDIA_PUBLIC_IP", "203.0.113.7, 2001:db8::7"),
        ("CROSSPOINT_AUTH_KEYS", "0123456789abcdef,fedcba9876543210"),
        ("CROSSPOINT_ICE_SERVERS", r#"[{ urls = ["turn:t.example:1"], username = "u", credential = "p" }]"#),
        ("CROSSPOINT_LOG_FILTER", "info,str0m=warn"),
    ];
    let config = load("", &environment, &[]).unwrap();
    assert_eq!(config.media.public_ip, ["203.0.113.7".parse::<IpAddr>().unwrap(), "2001:db8::7".parse().unwrap()]);
    let keys: Vec<_> = config.auth.keys.iter().map(|key| key.key.expose()).collect();
    assert_eq!(keys, [KEY, "fedcba9876543210"]);
    assert_eq!(config.ice.servers[0].username.as_deref(), Some("u"));
    assert_eq!(config.log.filter, "info,str0m=warn");
}

#[test]
fn every_key_can_be_set_by_its_variable_and_by_set() {
    for key in schema::Schema::new().keys() {
        // The default as text: what a person would write to set it to that.
        let default = key.default_text();
        let value = default.trim_matches('"');
        let flag = format!("{}={value}", key.path());
        assert_eq!(load("", &[(&key.variable(), value)], &["--set", &flag]).unwrap(), Config::default(), "{flag}");
    }
}

#[test]
fn every_flag_that_sets_a_key_is_named_after_it_and_explained() {
    let schema = schema::Schema::new();
    let others = ["config", "set", "print-config", "lan"];
    let command = Flags::command();
    for argument in command.get_arguments().filter(|argument| !argument.is_positional()) {
        let name = argument.get_long().unwrap();
        assert!(argument.get_help().is_some(), "--{name} is not explained");
        if others.contains(&name) {
            continue;
        }
        let path = name.replacen('-', ".", 1).replace('-', "_");
        assert!(schema.find(&path).is_some(), "--{name} sets no key");
        let flags = Flags::try_parse_from(["crosspoint", &format!("--{name}"), "x"]).unwrap();
        let set: Vec<_> = flags.settings().collect();
        assert_eq!(set, [(format!("--{name}"), path, "x")]);
    }
}

#[test]
fn lan_takes_an_optional_port() {
    let port = |arguments: &[&str]| Flags::try_parse_from([&["crosspoint"], arguments].concat()).unwrap().lan;
    assert_eq!((port(&[]), port(&["--lan"]), port(&["--lan=9443"])), (None, Some(LAN_PORT), Some(9443)));
}

#[test]
fn a_mistake_in_the_file_is_reported_with_its_line_and_what_is_allowed() {
    let table = [
        ("[media]\n\nprot = 1", "my.toml:3: unknown key `media.prot`; did you mean `media.port`? ([media] has: bind,"),
        ("\nport = 1", "my.toml:2: unknown key `port`; did you mean `media.port`? (the sections are: auth, http, ice,"),
        ("[meida]\nport = 1", "my.toml:2: unknown key `meida.port`; did you mean `media.port`?"),
        ("[http]\nport = 1", "my.toml:2: unknown key `http.port`; did you mean `media.port`? ([http] has: allowed"),
        ("[nonsense]", "my.toml:1: unknown key `nonsense` (the sections are:"),
        ("media = 1", "my.toml:1: `media` is a section; write [media] on a line of its own"),
        (
            "[media]\nport = \"1\"",
            "my.toml:2: `media.port` must be a whole number without quotes, like the default: port =",
        ),
        ("[media]\nport = 70000", "my.toml:2: `media.port`: 70000 is not a number from 0 to 65535"),
        (
            "[media]\npublic_ip = \"1.2.3.4\"",
            "my.toml:2: `media.public_ip` must be a list in brackets, like the default",
        ),
        (
            "[media]\npublic_ip = [\n\"::1\",\n\"1.2.3\"]",
            "my.toml:4: `media.public_ip`: \"1.2.3\" is not an IP address",
        ),
        (
            "[rooms]\nearly_viewers = \"maybe\"",
            "my.toml:2: `rooms.early_viewers`: unknown variant `maybe`, expected `accept`",
        ),
        (
            "[rooms]\nresume_window = \"30\"",
            "my.toml:2: `rooms.resume_window`: \"30\" is not a duration; write a whole",
        ),
        ("[rooms]\nresume_window = \"0s\"", "my.toml:2: `rooms.resume_window`: \"0s\" is not a duration"),
        (
            "[rooms]\nresume_window = 30",
            "my.toml:2: `rooms.resume_window` must be a text in quotes, like the default: res",
        ),
        (
            "[limits]\noffer_size = \"64kb\"",
            "my.toml:2: `limits.offer_size`: \"64kb\" is not a size; write a whole number",
        ),
        (
            "[http]\nlisten = \"8080\"",
            "my.toml:2: `http.listen`: \"8080\" is not an address with a port; write 127.0.0.1:",
        ),
        (
            "[[auth.keys]]\nkey = \"0123456789abcdef\"\n\npublsh = true",
            "my.toml:4: `auth.keys`: unknown field `publsh`",
        ),
        ("[[auth.keys]]\nkey = 5", "my.toml:2: `auth.keys`: invalid type: integer `5`, expected a string"),
        ("[auth]\nkeys = [5]", "my.toml:2: `auth.keys`: invalid type: integer `5`, expected a string or a table"),
        ("[log]\nfilter = \"info,=\"", "my.toml:2: `log.filter`: invalid filter directive; write a level"),
        ("[log]\n\nformat", "my.toml:3: key with no value, expected `=`"),
        ("[log]\nformat = \"text\"\nformat = \"json\"", "my.toml:3: duplicate key"),
    ];
    for (text, expected) in table {
        let refused = refusals(file(text));
        assert!(refused.len() == 1 && refused[0].starts_with(expected), "{text:?}: {refused:#?}");
    }
}

#[test]
fn a_mistake_outside_the_file_is_reported_with_the_variable_or_the_flag() {
    let variables = [
        ("CROSSPOINT_MEDIA_PROT", "1", "CROSSPOINT_MEDIA_PROT: unknown variable; did you mean CROSSPOINT_MEDIA_PORT?"),
        ("CROSSPOINT_MEIDA_PORT", "1", "CROSSPOINT_MEIDA_PORT: unknown variable; did you mean CROSSPOINT_MEDIA_PORT?"),
        ("CROSSPOINT_MEDIA_CODEC", "1", "CROSSPOINT_MEDIA_CODEC: unknown variable ([media] has: bind, "),
        ("CROSSPOINT_MEDIA_PORT", "high", "CROSSPOINT_MEDIA_PORT: `media.port` must be a whole number"),
        ("CROSSPOINT_MEDIA_PORT", "-1", "CROSSPOINT_MEDIA_PORT: `media.port`: -1 is not a number from 0 to 65535"),
        (
            "CROSSPOINT_AUTH_MODE",
            "none",
            "CROSSPOINT_AUTH_MODE: `auth.mode`: unknown variant `none`, expected one of `au",
        ),
        ("CROSSPOINT_AUTH_KEYS", "[{", "CROSSPOINT_AUTH_KEYS: `auth.keys` must be a list separated by commas, or one"),
        ("CROSSPOINT_AUTH_KEYS", "short", "CROSSPOINT_AUTH_KEYS: `auth.keys`: key 1 is shorter than 16 characters"),
    ];
    for (name, value, expected) in variables {
        let refused = refusals(load("", &[(name, value)], &[]));
        assert!(refused.len() == 1 && refused[0].starts_with(expected), "{name}={value}: {refused:#?}");
    }
    let flags = [
        ("--media-port=x", "--media-port: `media.port` must be a whole number"),
        ("--set=media.prot=1", "--set media.prot: unknown key `media.prot`; did you mean `media.port`?"),
        ("--set=media.port=x", "--set media.port: `media.port` must be a whole number"),
    ];
    for (flag, expected) in flags {
        let refused = refusals(load("", &[], &[flag]));
        assert!(refused.len() == 1 && refused[0].starts_with(expected), "{flag}: {refused:#?}");
    }
    assert!(
        Flags::try_parse_from(["crosspoint", "--media-prot", "1"]).unwrap_err().to_string().contains("--media-port")
    );
}

#[test]
fn variables_of_others_and_empty_ones_are_left_alone() {
    let environment = [
        ("CROSSPOINT_SERVICE_HOST", "10.0.0.1"),
        ("CROSSPOINT_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
        ("CROSSPOINT_CONFIG", "/etc/crosspoint.toml"),
        ("CROSSPOINT_MEDIA_PUBLIC_IP", ""),
        ("HTTP_LISTEN", "x"),
    ];
    assert_eq!(load("", &environment, &[]).unwrap(), Config::default());
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let text = "[media]\nport = 70000\nbnd = \"::\"\n[rooms]\nearly_viewers = 1";
    let refused = load(text, &[("CROSSPOINT_HTTP_LISTEN", "x")], &["--log-format", "xml"]).unwrap_err().to_string();
    assert_eq!(refused.lines().count(), 6, "{refused}");
    let places: Vec<&str> =
        refused.lines().skip(1).filter_map(|line| line.split_once(": ")).map(|(at, _)| at).collect();
    assert_eq!(places, ["  my.toml:2", "  my.toml:3", "  my.toml:5", "  CROSSPOINT_HTTP_LISTEN", "  --log-format"]);
}

#[test]
fn an_open_address_needs_keys_or_the_word_open() {
    let listen = "--http-listen=0.0.0.0:80";
    let key = format!("--auth-keys={KEY}");
    let table = [
        (vec![listen], "--http-listen: `http.listen` = \"0.0.0.0:80\" would let everybody who reaches it publish"),
        (vec!["--http-listen=[::]:80"], "--http-listen: `http.listen` = \"[::]:80\" would let everybody"),
        (vec!["--auth-mode=open", &key], "--auth-mode: `auth.mode` is \"open\", so everybody may publish"),
        (vec!["--auth-mode=keys"], "--auth-mode: `auth.mode` is \"keys\" but there is no key"),
        (vec![listen, "--auth-mode=open"], ""),
        (vec![listen, &key], ""),
        (vec![listen, "--lan"], ""),
        (vec!["--auth-mode=keys", "--lan"], ""),
        (vec!["--http-listen=[::1]:80"], ""),
        (vec!["--http-listen=localhost:80"], ""),
    ];
    for (flags, expected) in table {
        let refused = refusals(load("", &[], &flags)).join("\n");
        assert!(refused.starts_with(expected) && refused.is_empty() == expected.is_empty(), "{flags:?}: {refused}");
    }
}

#[test]
fn keys_are_needed_as_soon_as_there_is_one() {
    let auth = |mode, keys: &[&str]| Auth { mode, keys: keys.iter().map(|key| Key::from((*key).to_owned())).collect() };
    let table = [
        (auth(AuthMode::Auto, &[]), Authentication::Open),
        (auth(AuthMode::Auto, &[KEY]), Authentication::Keys),
        (auth(AuthMode::Open, &[KEY]), Authentication::Open),
        (auth(AuthMode::Keys, &[]), Authentication::Keys),
    ];
    for (auth, expected) in table {
        assert_eq!(auth.authentication(), expected, "{auth:?}");
    }
}

#[test]
fn values_that_contradict_each_other_or_mean_nothing_are_refused() {
    let key = |rest: &str| format!("[[auth.keys]]\nkey = \"{KEY}\"\n{rest}");
    let server = |rest: &str| format!("[[ice.servers]]\n{rest}");
    let table = [
        ("[http]\ntls_cert = \"a\"".to_owned(), "my.toml:2: `http.tls_cert` needs `http.tls_key`"),
        ("[http]\ntls_key = \"a\"".to_owned(), "my.toml:2: `http.tls_key` needs `http.tls_cert`"),
        (
            "[http]\nallowed_origins = [\"https://a/b\"]".to_owned(),
            "my.toml:2: `http.allowed_origins`: \"https://a/b\"",
        ),
        (
            "[http]\nallowed_origins = [\"example.org\"]".to_owned(),
            "my.toml:2: `http.allowed_origins`: \"example.org\"",
        ),
        ("[media]\npublic_ip = [\"0.0.0.0\"]".to_owned(), "my.toml:2: `media.public_ip`: 0.0.0.0 is no address"),
        ("[media]\nbind = \"ff02::1\"".to_owned(), "my.toml:2: `media.bind` is a multicast address"),
        ("[media]\nstun_server = \"stun:a.b:1\"".to_owned(), "my.toml:2: `media.stun_server`: \"stun:a.b:1\" is not"),
        (
            "[media]\nstun_server = \"a.b\"".to_owned(),
            "my.toml:2: `media.stun_server`: \"a.b\" is not a host and a port",
        ),
        ("[timeouts]\nconsent = \"31s\"".to_owned(), "my.toml:2: `timeouts.consent` is longer than RFC 7675 allows"),
        (key("publish = false\nplay = false"), "my.toml:1: `auth.keys`: key 1 allows nothing"),
        (key("rooms = []"), "my.toml:1: `auth.keys`: key 1 allows nothing"),
        (format!("[auth]\nkeys = [\"{KEY}\", \"{KEY}\"]"), "my.toml:2: `auth.keys`: key 2 is the same as key 1"),
        ("[auth]\nkeys = [\"sixteen and more \"]".to_owned(), "my.toml:2: `auth.keys`: key 1 has characters"),
        (server(""), "my.toml:1: `ice.servers`: server 1 has no urls"),
        (server("urls = [\"http://a\"]"), "my.toml:1: `ice.servers`: server 1: \"http://a\" is not an ICE server"),
        (server("urls = [\"turn:a\"]"), "my.toml:1: `ice.servers`: server 1 is TURN and needs username and credential"),
        (
            server("urls = [\"turn:a\"]\nusername = \"a,b\"\ncredential = \"c\""),
            "my.toml:1: `ice.servers`: server 1: user",
        ),
    ];
    for (text, expected) in table {
        let refused = refusals(file(&text));
        assert!(refused.len() == 1 && refused[0].starts_with(expected), "{text:?}: {refused:#?}");
    }
    let good = [
        "[http]\nallowed_origins = [\"https://example.org:8443\", \"http://localhost\"]",
        "[media]\nstun_server = \"[2001:db8::1]:3478\"",
        "[ice]\nservers = [\"stun:stun.example.org:3478\", \"stun:[2001:db8::1]\"]",
    ];
    for text in good {
        assert_eq!(refusals(file(text)), [""; 0], "{text:?}");
    }
}

#[test]
fn no_error_shows_a_key() {
    let table = [
        "[auth]\nkeys = \"open-sesame-1234\"",
        "[auth]\nkeys = [\"open-sesame\"]",
        "[auth]\nkeys = [\"open-sesame \u{e9}1234\"]",
    ];
    for text in table {
        let refused = file(text).unwrap_err();
        assert!(!format!("{refused} {refused:?}").contains("open-sesame"), "{refused}");
    }
}

#[test]
fn durations_and_sizes_come_back_as_they_were_written() {
    let mut config = Config::default();
    config.rooms.takeover_after = Duration::from_millis(1500);
    config.timeouts.connect = Duration::from_secs(3600);
    config.limits.offer_size = 1025;
    let text = toml::to_string(&config).unwrap();
    for expected in ["takeover_after = \"1500ms\"", "connect = \"1h\"", "offer_size = \"1025B\"", "\"4MiB\""] {
        assert!(text.contains(expected), "{text}");
    }
    assert_eq!(file(&text).unwrap(), config);
}

#[test]
fn a_missing_file_is_named() {
    let flags = Flags::try_parse_from(["crosspoint", "--config", "/nonexistent/crosspoint.toml"]).unwrap();
    let refused = Config::load(&flags, &[]).unwrap_err().to_string();
    assert!(refused.starts_with("cannot read the configuration file /nonexistent/crosspoint.toml ("), "{refused}");
    let variable = [("CROSSPOINT_CONFIG".to_owned(), "/nonexistent/other.toml".to_owned())];
    assert!(Config::load(&Flags::default(), &variable).unwrap_err().to_string().contains("other.toml"));
}
