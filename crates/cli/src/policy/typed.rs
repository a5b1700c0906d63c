//! What is typed after `fathom policy`.

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::command::ListOutput;
use crate::failure::usage;

#[derive(Args, Debug)]
pub struct PolicyArgs {
    #[command(subcommand)]
    pub what: PolicyWhat,
}

#[derive(Subcommand, Debug)]
pub enum PolicyWhat {
    /// List the policies in force: whom they select, what is wrong with them, who edited them last
    Get(GetArgs),
}

#[derive(Args, Debug)]
pub struct GetArgs {
    /// Only the policy NAME or NAMESPACE/NAME
    #[arg(value_name = "POLICY")]
    pub policy: Option<String>,
    /// Only policies of this namespace
    #[arg(long, short, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// Output format
    #[arg(long, short, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: ListOutput,
}

impl GetArgs {
    /// Namespace and name; empty = all.
    pub fn wanted(&self) -> Result<(String, String)> {
        let namespace = self.namespace.clone().unwrap_or_default();
        match self.policy.as_deref().map(|policy| policy.split_once('/').ok_or(policy)) {
            None => Ok((namespace, String::new())),
            Some(Err(name)) => Ok((namespace, name.to_owned())),
            Some(Ok((own, name))) if namespace.is_empty() || namespace == own => {
                Ok((own.to_owned(), name.to_owned()))
            }
            Some(Ok((own, name))) => {
                Err(usage(format!("{own}/{name} is not in namespace {namespace}: leave out --namespace")))
            }
        }
    }
}
