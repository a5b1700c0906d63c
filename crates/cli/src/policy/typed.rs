//! What is typed after `fathom policy`.

use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};

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
    /// Tell whether one end may open connections to another, by which rule, and which rule came nearest
    Explain(ExplainArgs),
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

/// `-o` of `explain`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum WordsOrJson {
    #[default]
    Text,
    Json,
}

const EXPLAIN: &str = "\
An end is POD or NAMESPACE/POD, an address, an identity's number, reserved:NAME (reserved:world), or a label selector
(app=web,tier!=db), which stands for each identity with such pods. The destination may be a service as well, svc/NAME
or NAMESPACE/svc/NAME: then each of its backends is explained.

The answer comes from the tables in the kernel of the nodes that decide: the source's for what leaves it, the
destination's for what reaches it. Ask a relay for both, or an agent for what its node decides.

Exit status: 0 when all that was asked about is allowed, 1 when something is denied or an answer could not be had (which
standard error says), 2 when the question means nothing.";

#[derive(Args, Debug)]
#[command(after_help = EXPLAIN)]
pub struct ExplainArgs {
    /// Who opens the connection
    #[arg(long, value_name = "END")]
    pub from: String,
    /// To whom
    #[arg(long, value_name = "END")]
    pub to: String,
    /// Destination port: 80, 80/udp, http, http/tcp; or icmp, icmpv6. A service with one port needs none
    #[arg(long, short, value_name = "PORT", default_value = "", hide_default_value = true)]
    pub port: String,
    /// Namespace of names without one
    #[arg(long, short, value_name = "NAMESPACE", default_value = "default")]
    pub namespace: String,
    /// Output format
    #[arg(long, short, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: WordsOrJson,
}
