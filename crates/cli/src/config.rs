//! `fathom config`: the configuration file and what is in force.

use std::io::Write;

use anyhow::Result;

use crate::command::ConfigWhat;
use crate::failure::usage;
use crate::settings::file::{Value, entry};
use crate::settings::key::{self, Key, Kind};
use crate::settings::{ConfigFile, Sources};

/// Runs `fathom config …`.
pub fn run(what: Option<&ConfigWhat>, sources: &Sources, mut file: ConfigFile) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match what {
        None | Some(ConfigWhat::View) => {
            for key in key::ALL {
                out.write_all(entry(key.name, &hidden(key, sources.in_force(key))).as_bytes())?;
            }
        }
        Some(ConfigWhat::Get { key }) => match sources.in_force(find(key)?) {
            Value::Text(text) => writeln!(out, "{text}")?,
            Value::List(list) => list.iter().try_for_each(|item| writeln!(out, "{item}"))?,
        },
        Some(ConfigWhat::Set { key, value: Some(value) }) => {
            let key = find(key)?;
            file.set(key.name, checked(key, value)?);
            file.save()?;
        }
        Some(ConfigWhat::Set { key, value: None } | ConfigWhat::Reset { key: Some(key) }) => {
            file.remove(find(key)?.name);
            file.save()?;
        }
        Some(ConfigWhat::Reset { key: None }) => {
            file.clear();
            file.save()?;
        }
    }
    Ok(())
}

/// A screen is no place for a password.
fn hidden(key: Key, value: Value) -> Value {
    match value {
        Value::Text(text) if key == key::BASIC_AUTH_PASSWORD && !text.is_empty() => {
            Value::Text("***************".to_owned())
        }
        value => value,
    }
}

fn find(name: &str) -> Result<Key> {
    key::find(name).ok_or_else(|| {
        let known = key::ALL.map(|key| key.name).join(", ");
        usage(format!("unknown setting {name:?}; one of {known}"))
    })
}

/// The value in the form the file holds it, refused now rather than at the next command.
fn checked(key: Key, text: &str) -> Result<Value> {
    let refused = |why: String| usage(format!("{}: {text:?}: {why}", key.name));
    match key.kind {
        Kind::Files => Ok(Value::List(text.split(',').map(str::to_owned).collect())),
        Kind::Json => match fathom_api::json::parse_filter(text) {
            Ok(_) => Ok(Value::List(vec![text.to_owned()])),
            Err(error) => Err(refused(error.to_string())),
        },
        Kind::Duration => crate::duration::parse(text).map(|_| Value::Text(text.to_owned())).map_err(refused),
        Kind::Switch => match text {
            "true" | "false" => Ok(Value::Text(text.to_owned())),
            _ => Err(refused("true or false".to_owned())),
        },
        Kind::Text if key == key::SERVER => match text.parse::<fathom_api::connect::Target>() {
            Ok(_) => Ok(Value::Text(text.to_owned())),
            Err(error) => Err(refused(error.to_string())),
        },
        Kind::Text => Ok(Value::Text(text.to_owned())),
    }
}
