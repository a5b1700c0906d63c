//! Where a setting's value comes from.

use anyhow::{Result, anyhow};

use super::file::{ConfigFile, Value};
use super::key::{Key, Kind};
use crate::failure::usage;

/// The environment and the configuration file.
pub struct Sources<'a> {
    environment: &'a dyn Fn(&str) -> Option<String>,
    pub file: &'a ConfigFile,
}

/// A value with the words that say where it was found.
struct Found {
    value: Value,
    place: String,
}

impl<'a> Sources<'a> {
    pub fn new(environment: &'a dyn Fn(&str) -> Option<String>, file: &'a ConfigFile) -> Self {
        Self { environment, file }
    }

    /// FATHOM_`suffix`, else HUBBLE_`suffix`; an empty variable counts as none.
    pub fn env(&self, suffix: &str) -> Option<String> {
        self.env_named(suffix).map(|(_, value)| value)
    }

    fn env_named(&self, suffix: &str) -> Option<(String, String)> {
        ["FATHOM_", "HUBBLE_"].iter().find_map(|prefix| {
            let name = format!("{prefix}{suffix}");
            let value = (self.environment)(&name).filter(|value| !value.is_empty())?;
            Some((name, value))
        })
    }

    fn find(&self, key: Key) -> Option<Found> {
        let suffix = key.name.replace('-', "_").to_ascii_uppercase();
        if let Some((place, value)) = self.env_named(&suffix) {
            let value = match key.kind {
                Kind::Files => Value::List(value.split(',').map(str::to_owned).collect()),
                Kind::Json => Value::List(vec![value]),
                _ => Value::Text(value),
            };
            return Some(Found { value, place });
        }
        let value = self.file.get(key.name)?.clone();
        Some(Found { value, place: format!("{}: {}", self.file.path.display(), key.name) })
    }

    /// The text in force, parsed; `flag` is what was typed.
    pub fn parsed<T>(
        &self,
        key: Key,
        flag: Option<&str>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T> {
        if let Some(text) = flag {
            return parse(text).map_err(|why| {
                usage(format!("invalid argument {text:?} for \"--{}\" flag: {why}", key.name))
            });
        }
        match self.find(key) {
            Some(Found { value: Value::Text(text), place }) => {
                parse(&text).map_err(|why| usage(format!("{place}: {text:?}: {why}")))
            }
            Some(Found { place, .. }) => Err(usage(format!("{place}: one value, not a list"))),
            None => parse(key.default).map_err(|why| anyhow!("default of {}: {why}", key.name)),
        }
    }

    pub fn text(&self, key: Key, flag: Option<&str>) -> Result<String> {
        self.parsed(key, flag, |text| Ok(text.to_owned()))
    }

    pub fn switch(&self, key: Key, flag: Option<bool>) -> Result<bool> {
        match flag {
            Some(on) => Ok(on),
            None => self.parsed(key, None, |text| match text.to_ascii_lowercase().as_str() {
                "1" | "t" | "true" => Ok(true),
                "0" | "f" | "false" => Ok(false),
                _ => Err("true or false".to_owned()),
            }),
        }
    }

    pub fn list(&self, key: Key) -> Result<Vec<String>> {
        Ok(match self.find(key) {
            Some(Found { value: Value::List(list), .. }) => list,
            Some(Found { value: Value::Text(text), .. }) if !text.is_empty() => vec![text],
            _ => Vec::new(),
        })
    }

    /// The value in force without regard to flags, in the form it is typed; for `config view`.
    pub fn in_force(&self, key: Key) -> Value {
        match self.find(key) {
            Some(found) => found.value,
            None if matches!(key.kind, Kind::Files | Kind::Json) => Value::List(Vec::new()),
            None => Value::Text(key.default.to_owned()),
        }
    }
}
