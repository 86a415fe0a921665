use std::io::Write;
use std::path::Path;

use tempfile::NamedTempFile;

use super::load::{Loaded, command};
use super::*;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// What is loaded from a file, variables and flags; on failure the text of the errors.
fn load_from(file: &str, environment: &[(&str, &str)], flags: &[&str]) -> Result<Loaded, String> {
    let mut path = NamedTempFile::new().unwrap();
    path.write_all(file.as_bytes()).unwrap();
    let path = path.path().to_str().unwrap();
    let arguments = ["madang", "--config", path]
        .iter()
        .chain(flags)
        .map(Into::into)
        .collect::<Vec<_>>();
    let environment = environment
        .iter()
        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
        .collect();
    load(&arguments, &environment).map_err(|error| match error {
        LoadError::Usage(error) => error.to_string(),
        LoadError::Config(errors) => {
            let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
            lines.join("\n").replace(path, "FILE")
        }
    })
}

fn error(file: &str, environment: &[(&str, &str)], flags: &[&str]) -> String {
    load_from(file, environment, flags).unwrap_err()
}

#[test]
fn a_flag_wins_over_the_environment_the_environment_over_the_file() {
    let port = |file: &str, environment: &[(&str, &str)], flags: &[&str]| {
        load_from(file, environment, flags)
            .unwrap()
            .cli
            .settings
            .media
            .port
    };
    let (file, environment, flags) = (
        "[media]\nport = 1",
        [("MADANG_MEDIA_PORT", "2")],
        ["--media-port=3"],
    );
    assert_eq!(port("", &[], &[]), 8080);
    assert_eq!(port(file, &[], &[]), 1);
    assert_eq!(port(file, &environment, &[]), 2);
    assert_eq!(port(file, &environment, &flags), 3);
    assert_eq!(
        port(file, &[("MADANG_MEDIA_PORT", "")], &[]),
        1,
        "an empty variable is not set"
    );
}

#[test]
fn lists_replace_each_other_and_are_not_joined() {
    let advertise = |environment: &[(&str, &str)], flags: &[&str]| {
        let loaded = load_from(
            "[media]\nadvertise = ['192.0.2.1', '192.0.2.2']",
            environment,
            flags,
        )
        .unwrap();
        loaded
            .cli
            .settings
            .media
            .advertise
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    assert_eq!(advertise(&[], &[]), ["192.0.2.1", "192.0.2.2"]);
    assert_eq!(
        advertise(&[("MADANG_MEDIA_ADVERTISE", "192.0.2.3, 2001:db8::1")], &[]),
        ["192.0.2.3", "2001:db8::1"]
    );
    assert_eq!(
        advertise(&[], &["--media-advertise", "192.0.2.4"]),
        ["192.0.2.4"]
    );
    let none = load_from("[media]\nbind = []", &[], &[]).unwrap();
    assert!(none.cli.settings.media.bind.is_empty());
}

#[test]
fn every_type_of_value_is_read_from_the_file() {
    let file = format!(
        "listen = '0.0.0.0:80'\n[media]\nice_lite = true\nworkers = 3\n[rooms]\nresume_ttl = '1m 30s'\n[auth]\n\
         issuer = 'us'\n[auth.keys]\nmain = '{SECRET}'\n[log]\nformat = 'json'\nlevel = 'warn,madang=debug'\n\
         [[ice_servers]]\nurls = ['turn:t.example.org']\nusername = 'u'\ncredential = 'c'\n"
    );
    let settings = load_from(&file, &[], &[]).unwrap().cli.settings;
    assert_eq!(settings.listen.to_string(), "0.0.0.0:80");
    assert!(settings.media.ice_lite && settings.media.workers == 3);
    assert_eq!(settings.rooms.resume_ttl.as_secs(), 90);
    assert_eq!(settings.auth.issuer.as_deref(), Some("us"));
    assert_eq!(settings.auth.keys[0].secret, SECRET);
    assert_eq!(settings.log.format, LogFormat::Json);
    assert_eq!(settings.ice_servers.0[0].credential.as_deref(), Some("c"));
}

#[test]
fn a_bad_value_names_its_place_the_key_and_what_is_allowed() {
    let cases = [
        (
            "listen = 'localhost'",
            r#"FILE:1: listen = "localhost": expected an IP address and a port, such as 127.0.0.1:8080"#,
        ),
        (
            "\n[media]\nport = 65536",
            r#"FILE:3: media.port = "65536": expected a whole number from 0 to 65535"#,
        ),
        (
            "[media]\nport = [1, 2]",
            r#"FILE:2: media.port = "1, 2": expected one value, not a list"#,
        ),
        (
            "[media]\nbind = ['::', 'eth0']",
            r#"FILE:2: media.bind = "eth0": expected an IP address, such as"#,
        ),
        (
            "[media]\nworkers = 0",
            r#"FILE:2: media.workers = "0": expected a whole number from 1 to 256, or auto"#,
        ),
        (
            "[media]\nice_lite = 'yes'",
            r#"FILE:2: media.ice_lite = "yes": expected true or false"#,
        ),
        (
            "[rooms]\nresume_ttl = 30",
            r#"FILE:2: rooms.resume_ttl = "30": expected a duration with its unit, such as"#,
        ),
        (
            "[log]\nformat = 'xml'",
            r#"FILE:2: log.format = "xml": expected human or json"#,
        ),
        (
            "[log]\nlevel = 'loud'",
            r#"FILE:2: log.level = "loud": expected off, error, warn, info, debug or trace"#,
        ),
        (
            "[http]\nallowed_origins = ['x.org']",
            r#"FILE:2: http.allowed_origins = "x.org": expected scheme, host and"#,
        ),
        (
            "[limits]\nrooms = 1\n[shutdown]\ngrace = 1",
            "FILE:4: shutdown.grace",
        ),
    ];
    for (file, expected) in cases {
        let error = error(file, &[], &[]);
        assert!(error.contains(expected), "{file}: {error}");
    }
    let variable = error("", &[("MADANG_MEDIA_PORT", "tcp://10.0.0.1:80")], &[]);
    assert!(
        variable.starts_with(r#"MADANG_MEDIA_PORT: media.port = "tcp://10.0.0.1:80": expected"#),
        "{variable}"
    );
    let flag = error("", &[], &["--media-port=-1"]);
    assert!(
        flag.starts_with(r#"--media-port: media.port = "-1": expected a whole number"#),
        "{flag}"
    );
}

#[test]
fn all_errors_are_told_at_once() {
    let error = error(
        "[media]\nport = -1\nworkers = 'many'\nprt = 3",
        &[("MADANG_LISTEN", "x")],
        &[],
    );
    assert_eq!(error.lines().count(), 4, "{error}");
}

#[test]
fn unknown_keys_are_errors_with_a_suggestion() {
    let cases = [
        (
            "[media]\nprt = 1",
            "FILE:2: there is no key media.prt; did you mean media.port?",
        ),
        (
            "lisen = 'x'",
            "FILE:1: there is no key lisen; did you mean listen?",
        ),
        (
            "[medai]\nport = 1",
            "FILE:2: there is no key medai.port; did you mean media.port?",
        ),
        (
            "port = 1",
            "FILE:1: there is no key port; did you mean media.port?",
        ),
        (
            "[quux]\nfrobnicate = 1",
            "FILE:2: there is no key quux.frobnicate",
        ),
    ];
    for (file, expected) in cases {
        assert_eq!(error(file, &[], &[]), expected);
    }
    let flag = error("", &[], &["--media-prt=1"]);
    assert!(
        flag.contains("--media-prt") && flag.contains("--media-port"),
        "{flag}"
    );
}

#[test]
fn variables_that_are_no_settings_are_told_but_those_of_kubernetes_are_not() {
    let environment = [
        ("MADANG_MEDIA_PRT", "1"),
        ("MADANG_SERVICE_HOST", "10.0.0.1"),
        ("MADANG_PORT_80_TCP", "tcp://10.0.0.1:80"),
    ];
    assert_eq!(
        load_from("", &environment, &[]).unwrap().strangers,
        ["MADANG_MEDIA_PRT"]
    );
}

#[test]
fn a_file_that_is_not_there_or_no_toml_is_told() {
    let missing = load(
        &["madang".into(), "--config=/nowhere/madang.toml".into()],
        &Default::default(),
    );
    let Err(LoadError::Config(errors)) = missing else {
        panic!("loaded {missing:?}")
    };
    assert!(
        errors[0]
            .to_string()
            .starts_with("cannot read /nowhere/madang.toml: "),
        "{}",
        errors[0]
    );
    assert!(error("listen = '127.0.0.1:1'\nmedia = {", &[], &[]).starts_with("FILE:2: "));
}

#[test]
fn without_keys_only_loopback_addresses_are_served() {
    for loopback in ["127.0.0.1:8080", "127.3.4.5:0", "[::1]:8080"] {
        assert!(
            load_from("", &[("MADANG_LISTEN", loopback)], &[])
                .unwrap()
                .cli
                .settings
                .is_development()
        );
    }
    for exposed in ["0.0.0.0:8080", "[::]:8080", "192.0.2.1:80"] {
        let error = error("", &[("MADANG_LISTEN", exposed)], &[]);
        for helpful in [
            exposed,
            "[auth.keys]",
            "MADANG_AUTH_KEYS",
            "openssl rand -hex 32",
            "127.0.0.1",
        ] {
            assert!(error.contains(helpful), "{helpful} is missing: {error}");
        }
        let keys = format!("main={SECRET}");
        let environment = [("MADANG_LISTEN", exposed), ("MADANG_AUTH_KEYS", &keys)];
        assert!(
            !load_from("", &environment, &[])
                .unwrap()
                .cli
                .settings
                .is_development()
        );
    }
}

#[test]
fn a_list_of_nodes_holds_this_one() {
    let nodes = "[cluster]\nnodes = ['https://a.example.org', 'https://b.example.org']\n";
    let own = |url: &str| format!("{nodes}[http]\npublic_url = '{url}'");
    for bad in [nodes, &own("https://c.example.org")] {
        let error = error(bad, &[], &[]);
        assert!(
            error.contains("must hold this server's own address"),
            "{error}"
        );
    }
    for good in ["https://a.example.org", "https://b.example.org"] {
        assert!(load_from(&own(good), &[], &[]).is_ok(), "{good}");
    }
}

#[test]
fn keys_come_from_a_file_too() {
    let mut keys = NamedTempFile::new().unwrap();
    writeln!(keys, "# token server\n\nmain={SECRET}\nother = {SECRET}").unwrap();
    let path = keys.path().to_str().unwrap().to_owned();
    let path = path.as_str();
    let loaded = load_from("", &[("MADANG_AUTH_KEYS_FILE", path)], &[]).unwrap();
    let ids: Vec<&str> = loaded
        .cli
        .settings
        .auth
        .keys
        .iter()
        .map(|key| key.id.as_str())
        .collect();
    assert_eq!(ids, ["main", "other"]);

    let twice = error(
        &format!("[auth.keys]\nmain = '{SECRET}'"),
        &[("MADANG_AUTH_KEYS_FILE", path)],
        &[],
    );
    assert_eq!(twice, "auth.keys: there are two keys with the id 'main'");
    writeln!(keys, "third=geheim").unwrap();
    let weak = error("", &[("MADANG_AUTH_KEYS_FILE", path)], &[]);
    assert!(
        weak.starts_with(&format!("{path}:5: the secret of key 'third'"))
            && !weak.contains("geheim"),
        "{weak}"
    );
    let missing = error("", &[], &["--auth-keys-file=/nowhere"]);
    assert!(
        missing.starts_with("cannot read /nowhere: ") && missing.contains("auth.keys_file"),
        "{missing}"
    );
}

#[test]
fn secrets_are_never_shown() {
    let credential = "turn-credential";
    let servers = format!(r#"[{{"urls":["turn:t"],"username":"u","credential":"{credential}"}}]"#);
    let keys = format!("main={SECRET}");
    let loaded = load_from(
        "",
        &[
            ("MADANG_AUTH_KEYS", &keys),
            ("MADANG_ICE_SERVERS", &servers),
        ],
        &[],
    )
    .unwrap();
    for text in [print(&loaded), format!("{loaded:?}")] {
        assert!(text.contains("main=[redacted]"), "{text}");
        assert!(
            !text.contains(SECRET) && !text.contains(credential),
            "{text}"
        );
    }
    for (name, text) in [
        ("MADANG_AUTH_KEYS", "geheim"),
        ("MADANG_ICE_SERVERS", "[\"geheim\""),
    ] {
        let error = error("", &[(name, text)], &[]);
        assert!(
            error.contains("[redacted]") && !error.contains("geheim"),
            "{error}"
        );
    }
    let flag = error("", &[], &["--auth-keys=main=geheim"]);
    assert!(
        flag.contains("[redacted]") && !flag.contains("geheim"),
        "{flag}"
    );
}

#[test]
fn what_is_printed_is_a_file_with_the_same_values() {
    let file = "listen = '127.0.0.1:1'\n[media]\nworkers = 2\nadvertise = ['192.0.2.1']\n[rooms]\nresume_ttl = '90s'\n";
    let loaded = load_from(file, &[("MADANG_LOG_LEVEL", "debug")], &["--media-port=9"]).unwrap();
    let printed = print(&loaded);
    let line = |start: &str| {
        printed
            .lines()
            .find(|line| line.starts_with(start))
            .unwrap()
            .to_owned()
    };
    assert!(line("workers = 2").ends_with(":3"), "{printed}");
    assert!(
        line("level = \"debug\"").ends_with("# MADANG_LOG_LEVEL"),
        "{printed}"
    );
    assert!(line("port = 9").ends_with("# --media-port"), "{printed}");
    assert_eq!(line("format"), "format = \"human\"");

    let again = load_from(&printed, &[], &[]).unwrap();
    assert_eq!(
        format!("{:?}", again.cli.settings),
        format!("{:?}", loaded.cli.settings)
    );
}

/// The identifier of each argument is the path of its field, so that code, file, flag and variable say the same.
#[test]
fn identifiers_are_the_paths_of_the_fields() {
    let source = include_str!("settings.rs");
    for arg in load::settings() {
        let key = arg.get_id().as_str();
        let field = key.rsplit('.').next().unwrap();
        let after = source.split_once(&format!("id = \"{key}\"")).unwrap().1;
        let declared = after.split_once("pub(crate) ").unwrap().1;
        assert!(
            declared.starts_with(&format!("{field}:")),
            "{key} stands at {}",
            declared.lines().next().unwrap()
        );
    }
}

#[test]
fn the_help_fits_on_two_screens_and_names_what_matters() {
    let help = command().render_help().to_string();
    assert!(help.lines().count() < 100, "{} lines", help.lines().count());
    for wanted in [
        "--listen",
        "--auth-keys",
        "--media-port",
        "--config",
        "check-config",
        "token",
        "MADANG_MEDIA_PORT",
    ] {
        assert!(help.contains(wanted), "{wanted} is missing");
    }
    assert!(
        !help.contains("--limits-"),
        "limits are for the documentation"
    );
}

#[test]
fn the_documentation_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    assert_eq!(
        std::fs::read_to_string(path).unwrap(),
        markdown(),
        "run `cargo xtask docs`"
    );
}
