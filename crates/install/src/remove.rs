//! Taking Fathom off a cluster: first the nodes, where programs outlive agents by design, then the objects.

use std::time::Duration;

use anyhow::{Context, bail};
use fathom_kubernetes::connect::explain;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, PropagationPolicy};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::apply::apply;
use crate::resource::place;

const AGENT: &str = "fathom-agent";
const CLEANUP: &str = "fathom-cleanup";
const LOOK: Duration = Duration::from_millis(500);

/// Ends all agents, then runs `fathom-agent cleanup` on every node they ran on. Pods go on unenforced.
///
/// # Errors
/// A node did not become clean in time: which, and how to go on.
pub async fn clean_nodes(client: &Client, namespace: &str, limit: Duration) -> anyhow::Result<i32> {
    let sets: Api<DaemonSet> = Api::namespaced(client.clone(), namespace);
    let read = |error: kube::Error| anyhow::anyhow!("DaemonSets can't be read: {}", explain(&error));
    let Some(agents) = sets.get_opt(AGENT).await.map_err(read)? else {
        // It went in an attempt before; nodes may still be under way.
        return match sets.get_opt(CLEANUP).await.map_err(read)? {
            Some(_) => finish(client, &sets, namespace, limit).await,
            None => Ok(0),
        };
    };
    let cleanup = cleanup_of(&serde_json::to_value(&agents).context("the DaemonSet as JSON")?)?;
    let foreground =
        DeleteParams { propagation_policy: Some(PropagationPolicy::Foreground), ..Default::default() };
    if let Err(error) = sets.delete(AGENT, &foreground).await {
        bail!("DaemonSet {AGENT} can't be deleted: {}", explain(&error));
    }
    // Two at once on one node would get in each other's way: cleanup refuses beside a running agent.
    let end = tokio::time::Instant::now() + limit;
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let theirs = ListParams::default().labels("app.kubernetes.io/name=fathom-agent");
    loop {
        let left = pods
            .list(&theirs)
            .await
            .map_err(|error| anyhow::anyhow!("pods can't be read: {}", explain(&error)))?;
        if left.items.is_empty() {
            break;
        }
        if tokio::time::Instant::now() > end {
            bail!(
                "{} agents have not ended after {limit:?}; run the command again to go on",
                left.items.len()
            );
        }
        tokio::time::sleep(LOOK).await;
    }
    apply(client, &cleanup, false).await?;
    finish(client, &sets, namespace, limit).await
}

/// Waits until every node is clean, and ends what cleaned them.
async fn finish(
    client: &Client,
    sets: &Api<DaemonSet>,
    namespace: &str,
    limit: Duration,
) -> anyhow::Result<i32> {
    let end = tokio::time::Instant::now() + limit;
    let nodes = loop {
        let set = match sets.get(CLEANUP).await {
            Ok(set) => set,
            Err(error) => bail!("DaemonSet {CLEANUP} can't be read: {}", explain(&error)),
        };
        let status = set.status.unwrap_or_default();
        let (wanted, ready) = (status.desired_number_scheduled, status.number_ready);
        if status.observed_generation.is_some() && ready >= wanted {
            break wanted;
        }
        if tokio::time::Instant::now() > end {
            bail!(
                "{ready} of {wanted} nodes are clean after {limit:?}: kubectl -n {namespace} get pods -l \
                 app.kubernetes.io/name={CLEANUP} -o wide shows which are not; run the command again to go on, or \
                 with --keep-nodes to leave them as they are"
            );
        }
        tokio::time::sleep(LOOK).await;
    };
    remove(
        client,
        &json!({"apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": {"name": CLEANUP, "namespace": namespace}}),
    )
    .await?;
    Ok(nodes)
}

/// The DaemonSet that cleans: what agents ran with, on the nodes they ran on, with another command.
fn cleanup_of(agents: &Value) -> anyhow::Result<Value> {
    let template = agents.pointer("/spec/template/spec").context("a DaemonSet without pods")?;
    let container = |list: &str, name: &str| {
        let found =
            template[list].as_array().into_iter().flatten().find(|container| container["name"] == name);
        found.with_context(|| format!("DaemonSet {AGENT} has no container {name}")).cloned()
    };
    let mut cleanup = container("containers", "agent")?;
    // The agent's environment says where things are; entering the node's mount namespace asks for more capabilities.
    for field in ["ports", "startupProbe", "livenessProbe", "readinessProbe"] {
        if let Some(fields) = cleanup.as_object_mut() {
            fields.remove(field);
        }
    }
    if let Some(added) =
        cleanup.pointer_mut("/securityContext/capabilities/add").and_then(Value::as_array_mut)
    {
        for more in ["SYS_CHROOT", "SYS_PTRACE"] {
            if !added.iter().any(|known| known == more) {
                added.push(json!(more));
            }
        }
    }
    // Where the plugin was put, if it was.
    if let Ok(prepare) = container("initContainers", "prepare") {
        for list in ["env", "volumeMounts"] {
            let key = if list == "env" { "name" } else { "mountPath" };
            let more = prepare[list].as_array().cloned().unwrap_or_default();
            let Some(there) = cleanup[list].as_array_mut() else { continue };
            for item in more {
                if !there.iter().any(|known| known[key] == item[key]) {
                    there.push(item);
                }
            }
        }
    }
    let stay = {
        let mut stay = cleanup.clone();
        stay["name"] = json!("clean");
        stay["command"] = json!(["/usr/bin/fathom-agent", "cleanup", "--stay"]);
        stay
    };
    cleanup["name"] = json!("cleanup");
    cleanup["command"] = json!(["/usr/bin/fathom-agent", "cleanup"]);
    let mut pod = template.clone();
    pod["initContainers"] = json!([cleanup]);
    pod["containers"] = json!([stay]);
    // It asks the API server for nothing.
    pod["automountServiceAccountToken"] = json!(false);
    let labels = json!({"app.kubernetes.io/name": CLEANUP, "app.kubernetes.io/part-of": "fathom"});
    Ok(json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": {"name": CLEANUP, "namespace": agents.pointer("/metadata/namespace"), "labels": labels},
        "spec": {
            "selector": {"matchLabels": {"app.kubernetes.io/name": CLEANUP}},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }))
}

/// Deletes an object; false: it was not there, or its kind is not.
///
/// # Errors
/// The server refuses.
pub async fn remove(client: &Client, object: &Value) -> anyhow::Result<bool> {
    let (api, name) = place(client, object)?;
    match api.delete(&name, &DeleteParams::background()).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
        Err(error) => bail!("{} can't be deleted: {}", fathom_manifests::name(object), explain(&error)),
    }
}

/// Whether an object outlives an uninstall without `--purge`: the definitions, and with them all identities, so that
/// a new installation gives the same labels the same numbers.
pub fn is_kept(object: &Value) -> bool {
    object["kind"] == "CustomResourceDefinition"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cleans_runs_where_agents_ran_with_what_they_had() {
        for mode in [fathom_manifests::Mode::Cni, fathom_manifests::Mode::Attach] {
            let variant = fathom_manifests::Variant { mode, ..Default::default() };
            let objects = variant.objects().unwrap();
            let agents =
                objects.iter().find(|object| fathom_manifests::name(object) == "DaemonSet/fathom-agent");
            let cleanup = cleanup_of(agents.unwrap()).unwrap();
            let set: DaemonSet = serde_json::from_value(cleanup).unwrap();
            assert_eq!(set.metadata.namespace.as_deref(), Some("kube-system"));
            let pod = set.spec.unwrap().template.spec.unwrap();
            assert_eq!((pod.host_network, pod.tolerations.unwrap().len()), (Some(true), 1));
            let init = &pod.init_containers.unwrap()[0];
            let names: Vec<_> = init.env.iter().flatten().map(|variable| variable.name.as_str()).collect();
            let plugin = names.contains(&"FATHOM_CNI_BIN_DIR");
            assert_eq!(plugin, mode == fathom_manifests::Mode::Cni);
            let capabilities = init.security_context.as_ref().unwrap().capabilities.as_ref().unwrap();
            assert!(capabilities.add.as_ref().unwrap().contains(&"SYS_CHROOT".to_owned()));
            assert!(init.readiness_probe.is_none() && init.ports.is_none());
            assert_eq!(pod.containers[0].command.as_ref().unwrap()[2], "--stay");
        }
    }
}
