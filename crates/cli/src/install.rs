//! `fathom install`, `fathom uninstall`, and waiting for what was installed.

pub mod typed;

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use fathom_install::{apply, remove, state};
use fathom_kubernetes::connect::{self, Connection};
use fathom_manifests::{Mode, Variant};

use self::typed::{ClusterArgs, DryRun, InstallArgs, ModeArg, UninstallArgs};
use crate::failure::usage;
use crate::terminal::note;

/// Runs `fathom install`. `tls` is what was typed.
pub async fn install(args: &InstallArgs, tls: Option<bool>) -> Result<()> {
    let limit = args.wait.as_deref().map(duration).transpose()?;
    let variant = variant(args, tls)?;
    let objects = variant.objects().map_err(usage)?;
    let mut out = std::io::stdout().lock();
    if args.output.is_some() {
        return Ok(out.write_all(fathom_manifests::to_yaml(&objects)?.as_bytes())?);
    }
    if args.dry_run == Some(DryRun::Client) {
        for object in &objects {
            writeln!(out, "{} would be applied", fathom_manifests::name(object))?;
        }
        return Ok(());
    }
    let cluster = reach(&args.cluster).await?;
    let dry = args.dry_run == Some(DryRun::Server);
    for object in &objects {
        let outcome = apply::apply(&cluster.client, object, dry).await.with_context(|| at(&cluster))?;
        let note = if dry { " (server dry run)" } else { "" };
        writeln!(out, "{} {}{note}", fathom_manifests::name(object), outcome.word())?;
    }
    match limit {
        Some(limit) if !dry => wait(&cluster, &args.cluster.namespace, limit).await,
        _ => Ok(()),
    }
}

/// Runs `fathom uninstall`.
pub async fn uninstall(args: &UninstallArgs) -> Result<()> {
    let limit = duration(&args.wait)?;
    let cluster = reach(&args.cluster).await?;
    let namespace = &args.cluster.namespace;
    let mut out = std::io::stdout().lock();
    if !args.keep_nodes {
        note(format_args!("Cleaning nodes: agents end, then their programs, routes and files go."));
        let nodes =
            remove::clean_nodes(&cluster.client, namespace, limit).await.with_context(|| at(&cluster))?;
        writeln!(out, "{nodes} nodes cleaned")?;
    }
    let variant = Variant { namespace: namespace.clone(), pod_monitor: true, ..Variant::default() };
    for object in variant.objects().map_err(usage)?.iter().rev() {
        if remove::is_kept(object) && !args.purge {
            writeln!(
                out,
                "{} kept, and all identities: --purge removes them",
                fathom_manifests::name(object)
            )?;
        } else if remove::remove(&cluster.client, object).await.with_context(|| at(&cluster))? {
            writeln!(out, "{} deleted", fathom_manifests::name(object))?;
        }
    }
    Ok(())
}

/// `fathom status --wait`: until agents and relays are ready.
pub async fn wait_ready(cluster: &ClusterArgs, limit: &str) -> Result<()> {
    let limit = duration(limit)?;
    wait(&reach(cluster).await?, &cluster.namespace, limit).await
}

async fn wait(cluster: &Connection, namespace: &str, limit: Duration) -> Result<()> {
    let mut said = Vec::new();
    let told = |parts: &[state::Part]| {
        for part in parts {
            let lines = state::lines(part);
            if !said.contains(&lines) {
                note(format_args!("{lines}"));
                said.retain(|line: &String| !line.starts_with(&part.name));
                said.push(lines);
            }
        }
    };
    state::wait(&cluster.client, namespace, limit, told).await.with_context(|| at(cluster))
}

fn variant(args: &InstallArgs, tls: Option<bool>) -> Result<Variant> {
    let api_server = args.api_server.as_deref().map(|text| {
        let split =
            text.rsplit_once(':').and_then(|(host, port)| Some((host.to_owned(), port.parse().ok()?)));
        split.ok_or_else(|| usage(format!("--api-server {text:?}: write HOST:PORT")))
    });
    let defaults = Variant::default();
    Ok(Variant {
        mode: match args.mode {
            ModeArg::Cni => Mode::Cni,
            ModeArg::Attach => Mode::Attach,
        },
        tls: tls.unwrap_or(true),
        pod_monitor: args.pod_monitor,
        namespace: args.cluster.namespace.clone(),
        image: args.image.clone().unwrap_or(defaults.image),
        api_server: api_server.transpose()?,
    })
}

async fn reach(args: &ClusterArgs) -> Result<Connection> {
    connect::connect_as_user(args.kubeconfig.as_deref(), args.context.as_deref(), "fathom").await
}

fn at(cluster: &Connection) -> String {
    format!("the cluster at {}", cluster.address)
}

fn duration(text: &str) -> Result<Duration> {
    crate::duration::parse(text).map_err(|why| usage(anyhow!("--wait {text:?}: {why}")))
}
