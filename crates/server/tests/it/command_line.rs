//! What the commands print, and how they end.

use std::process::Output;

use crate::process::{madang, run};

const KEY: &str = "main=0123456789abcdef0123456789abcdef";

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn failed(output: &Output) -> &str {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    text(&output.stderr)
}

#[test]
fn the_server_refuses_to_be_exposed_without_keys() {
    let refused = run(&["--listen=0.0.0.0:0"]);
    assert!(failed(&refused).contains("MADANG_AUTH_KEYS"), "{refused:?}");
    assert!(refused.stdout.is_empty());
}

#[test]
fn check_config_prints_the_configuration_or_the_errors() {
    let good = madang(&["check-config"])
        .env("MADANG_AUTH_KEYS", KEY)
        .env("MADANG_TYPO", "1")
        .output()
        .unwrap();
    assert!(good.status.success());
    assert!(
        text(&good.stdout).contains("keys = [\"main=[redacted]\"]"),
        "{}",
        text(&good.stdout)
    );
    assert_eq!(
        text(&good.stderr),
        "warning: the environment variable MADANG_TYPO is no setting\n"
    );

    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("wrong.toml");
    std::fs::write(&file, "[media]\nport = 'eighty'\nprt = 80\n").unwrap();
    let wrong = run(&["check-config", "--config", file.to_str().unwrap()]);
    let errors = failed(&wrong);
    assert!(
        errors.contains(
            "wrong.toml:2: media.port = \"eighty\": expected a whole number from 0 to 65535"
        ),
        "{errors}"
    );
    assert!(
        errors.contains("wrong.toml:3: there is no key media.prt; did you mean media.port?"),
        "{errors}"
    );
}

#[test]
fn token_prints_a_token_or_says_what_is_missing() {
    let arguments = ["token", "--room=yard", "--identity=ada"];
    let signed = madang(&arguments)
        .env("MADANG_AUTH_KEYS", KEY)
        .output()
        .unwrap();
    assert_eq!(
        text(&signed.stdout).trim_end().split('.').count(),
        3,
        "{signed:?}"
    );
    assert!(failed(&run(&arguments)).contains("there is no key to sign with"));
    assert_eq!(run(&["token"]).status.code(), Some(2), "a usage error");
}

#[test]
fn plan_prints_a_table_or_json_or_what_is_wrong() {
    let table = run(&["plan", "--participants=5", "--rooms=4"]);
    assert!(table.status.success());
    assert!(text(&table.stdout).contains("\nbandwidth out, Mbit/s "));
    let json = run(&["plan", "--json"]);
    let plan: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert!(plan["whole"]["cores"].as_f64().unwrap() > 0.0, "{plan}");
    assert!(failed(&run(&["plan", "--publishers=40"])).contains("--publishers 40: "));
    let wrong = run(&["plan", "--video=4k"]);
    assert_eq!(wrong.status.code(), Some(2), "a usage error");
    assert!(text(&wrong.stderr).contains("720p"), "{wrong:?}");
}

#[test]
fn version_and_help_are_printed() {
    assert_eq!(
        text(&run(&["--version"]).stdout),
        format!("madang {}\n", env!("CARGO_PKG_VERSION"))
    );
    let help = run(&["--help"]);
    assert!(help.status.success() && text(&help.stdout).contains("Usage: madang"));
    assert_eq!(help.stdout, run(&["-h"]).stdout);
}
