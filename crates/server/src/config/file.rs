//! The configuration file: TOML, taken apart into keys and texts that know their line.

use toml::de::{DeTable, DeValue};

/// One key of the file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// `section.name`, or `name` where there is no section.
    pub(crate) key: String,
    /// One text, or those of a list. A table of texts is a list of `name=text`.
    pub(crate) texts: Vec<String>,
    pub(crate) line: usize,
}

/// A file that is no TOML: the line and what is wrong with it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    pub(crate) line: usize,
    pub(crate) problem: String,
}

/// Reads a file. `is_key` tells keys from sections.
pub(crate) fn parse(text: &str, is_key: impl Fn(&str) -> bool) -> Result<Vec<Entry>, SyntaxError> {
    let table = DeTable::parse(text).map_err(|error| SyntaxError {
        line: line_at(text, error.span().map_or(0, |span| span.start)),
        problem: error.message().to_owned(),
    })?;
    let mut entries = Vec::new();
    collect(text, "", table.get_ref(), &is_key, &mut entries);
    entries.sort_by_key(|entry| entry.line);
    Ok(entries)
}

fn collect(
    text: &str,
    section: &str,
    table: &DeTable<'_>,
    is_key: &impl Fn(&str) -> bool,
    entries: &mut Vec<Entry>,
) {
    for (name, value) in table {
        let key = if section.is_empty() {
            name.get_ref().to_string()
        } else {
            format!("{section}.{}", name.get_ref())
        };
        match value.get_ref().as_table() {
            Some(inner) if !is_key(&key) => collect(text, &key, inner, is_key, entries),
            _ => entries.push(Entry {
                key,
                texts: texts(value.get_ref()),
                line: line_at(text, name.span().start),
            }),
        }
    }
}

fn texts(value: &DeValue<'_>) -> Vec<String> {
    if let Some(list) = value.as_array() {
        if list.iter().any(|item| item.get_ref().is_table()) {
            return vec![json(value).to_string()];
        }
        return list.iter().map(|item| scalar(item.get_ref())).collect();
    }
    if let Some(table) = value.as_table() {
        let pairs = table.iter();
        return pairs
            .map(|(name, value)| format!("{}={}", name.get_ref(), scalar(value.get_ref())))
            .collect();
    }
    vec![scalar(value)]
}

fn scalar(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| number.as_str().to_owned(), |number| number.to_string()),
        DeValue::Float(number) => number.as_str().to_owned(),
        DeValue::Boolean(switch) => switch.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(_) | DeValue::Table(_) => json(value).to_string(),
    }
}

fn json(value: &DeValue<'_>) -> serde_json::Value {
    if let Some(list) = value.as_array() {
        return list.iter().map(|item| json(item.get_ref())).collect();
    }
    if let Some(table) = value.as_table() {
        let pairs = table.iter();
        return pairs
            .map(|(name, value)| (name.get_ref().to_string(), json(value.get_ref())))
            .collect();
    }
    scalar(value).into()
}

fn line_at(text: &str, offset: usize) -> usize {
    text.bytes()
        .take(offset)
        .filter(|byte| *byte == b'\n')
        .count()
        + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &str, texts: &[&str], line: usize) -> Entry {
        Entry {
            key: key.to_owned(),
            texts: texts.iter().map(|text| (*text).to_owned()).collect(),
            line,
        }
    }

    #[test]
    fn keys_carry_their_section_and_line() {
        let text = "listen = '[::]:80'\n\n[media]\nport = 0x1f90\nadvertise = ['192.0.2.1', '192.0.2.2']\n\
                    [auth.keys]\nmain = 'secret'\n[[ice_servers]]\nurls = ['stun:x']\n";
        let is_key = |key: &str| ["auth.keys", "ice_servers"].contains(&key);
        assert_eq!(
            parse(text, is_key).unwrap(),
            [
                entry("listen", &["[::]:80"], 1),
                entry("media.port", &["8080"], 4),
                entry("media.advertise", &["192.0.2.1", "192.0.2.2"], 5),
                entry("auth.keys", &["main=secret"], 6),
                entry("ice_servers", &[r#"[{"urls":["stun:x"]}]"#], 8),
            ]
        );
    }

    #[test]
    fn bad_syntax_names_the_line() {
        let error = parse("listen = '127.0.0.1:80'\nmedia = [\n\nport 3", |_| false).unwrap_err();
        assert!(error.line >= 3, "{error:?}");
        assert_eq!(parse("\na = 1\na = 2", |_| false).unwrap_err().line, 3);
    }
}
