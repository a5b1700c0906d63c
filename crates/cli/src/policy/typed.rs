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
    /// List every selector of the policies with the identities it stands for now
    Selectors(GetArgs),
    /// Show the look-ups in the running tables that decide about two identities, one by one
    Trace(TraceArgs),
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

const TRACE: &str = "\
The steps are numbered as in the kernel's policy.h. Egress is decided by the table of --from, ingress by that of --to; an
identity that has no pod on a node that was asked has no table there.

Exit status: 0 when no table denies, 1 when one does or there was none, 2 when the question means nothing.";

#[derive(Args, Debug)]
#[command(after_help = TRACE)]
pub struct TraceArgs {
    /// Identity that opens the connection
    #[arg(long, value_name = "NUMBER")]
    pub from: u32,
    /// Identity that is connected to
    #[arg(long, value_name = "NUMBER")]
    pub to: u32,
    /// Destination port: 80, 80/udp, 80/sctp; or icmp, icmpv6
    #[arg(long, short, value_name = "PORT", value_parser = number_and_protocol)]
    pub port: (u32, Option<u32>),
    /// Identity of the longest prefix that holds the address of --from, when there is one
    #[arg(long, value_name = "NUMBER", default_value_t = 0, hide_default_value = true)]
    pub from_cidr: u32,
    /// Identity of the longest prefix that holds the address of --to, when there is one
    #[arg(long, value_name = "NUMBER", default_value_t = 0, hide_default_value = true)]
    pub to_cidr: u32,
    /// Output format
    #[arg(long, short, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: WordsOrJson,
}

/// IANA protocol and port.
fn number_and_protocol(text: &str) -> std::result::Result<(u32, Option<u32>), String> {
    let wrong = || "write for example 80, 53/udp, icmp or icmpv6".to_owned();
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    match text.to_ascii_lowercase().as_str() {
        "icmp" => return Ok((1, None)),
        "icmpv6" => return Ok((58, None)),
        _ => {}
    }
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "tcp" => 6,
        "udp" => 17,
        "sctp" => 132,
        _ => return Err(wrong()),
    };
    let port: u16 = port.parse().map_err(|_| wrong())?;
    Ok((protocol, Some(port.into())))
}
