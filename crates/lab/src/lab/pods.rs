//! Pods: object, namespace, cable, processes; and the objects that follow from them.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Lab;
use super::wiring::Attachment;
use crate::layout::{Place, node_addresses, pod_cidrs};
use crate::machine::enter::Entry;
use crate::machine::{cgroup, netns};
use crate::objects;
use crate::spec::{PodSpec, ServiceSpec, Spec};

const WORKLOAD_READY_WITHIN: Duration = Duration::from_secs(20);

/// A pod of a running lab.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pod {
    pub spec: PodSpec,
    pub container_id: String,
    /// What the CNI plugin answered.
    pub result: Value,
    pub addresses: Vec<IpAddr>,
}

impl Pod {
    /// The IPv4 address.
    ///
    /// # Panics
    /// When it has none; the lab's pods have both.
    pub fn v4(&self) -> IpAddr {
        *self.addresses.iter().find(|a| a.is_ipv4()).expect("a pod has an IPv4 address")
    }

    /// The IPv6 address.
    ///
    /// # Panics
    /// When it has none; the lab's pods have both.
    pub fn v6(&self) -> IpAddr {
        *self.addresses.iter().find(|a| a.is_ipv6()).expect("a pod has an IPv6 address")
    }
}

impl Lab {
    /// A pod by `namespace/name`, or by name alone when only one has it.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn pod(&self, name: &str) -> Result<Pod> {
        let Place::Pod(key) = self.place(name)? else { return Err(anyhow!("{name} is no pod")) };
        self.state().pods.get(&key).cloned().with_context(|| format!("pod {key} is gone"))
    }

    /// A service's addresses by `namespace/name`.
    ///
    /// # Errors
    /// When there is none.
    pub fn service(&self, key: &str) -> Result<Vec<IpAddr>> {
        let state = self.state();
        let service = state.spec.services.iter().find(|s| format!("{}/{}", s.namespace, s.name) == key);
        service.map(|s| state.cluster_ips(s)).with_context(|| format!("no service {key}"))
    }

    /// Adds services to the running lab.
    ///
    /// # Errors
    /// When their objects can't be written.
    pub fn add_services(&self, services: Vec<ServiceSpec>) -> Result<()> {
        self.update(|state| state.spec.services.extend(services.iter().cloned()))?;
        for service in &services {
            let addresses = self.state().cluster_ips(service);
            self.objects.put(&objects::service(service, &addresses))?;
        }
        self.follow_pods()
    }

    /// Adds a pod to the running lab and waits until its workloads are ready.
    ///
    /// # Errors
    /// What the CNI plugin or a workload said.
    pub fn add_pod(&self, spec: PodSpec) -> Result<Pod> {
        self.update(|state| state.spec.pods.push(spec.clone()))?;
        self.wire_pods(std::slice::from_ref(&spec))?;
        self.pod(&spec.key())
    }

    /// Ends a pod's processes, unwires it and removes its object.
    ///
    /// # Errors
    /// What the CNI plugin said.
    pub fn remove_pod(&self, name: &str) -> Result<()> {
        let pod = self.pod(name)?;
        let key = pod.spec.key();
        let mine: Vec<String> = {
            let state = self.state();
            state.processes.keys().filter(|p| p.starts_with(&format!("{key}/"))).cloned().collect()
        };
        for process in mine {
            self.stop(&process, Signal::SIGKILL)?;
        }
        if !pod.spec.host_network {
            let path = self.layout.netns(&Place::Pod(key.clone()));
            self.cni("DEL", &attachment(&pod, &key, &path), Some(&pod.result))?;
            netns::remove(&path)?;
        }
        cgroup::remove(
            &self.cgroup.join(self.layout.cgroup_of(&Place::Pod(key.clone()), Some(&pod.spec.node))),
        )?;
        self.objects.remove("Pod", &pod.spec.namespace, &pod.spec.name)?;
        self.update(|state| {
            state.pods.remove(&key);
            state.spec.pods.retain(|p| p.key() != key);
        })?;
        self.follow_pods()
    }

    /// Asks the CNI plugin whether a pod is still wired.
    ///
    /// # Errors
    /// Every difference it found.
    pub fn check_pod(&self, name: &str) -> Result<()> {
        let pod = self.pod(name)?;
        let key = pod.spec.key();
        let path = self.layout.netns(&Place::Pod(key.clone()));
        self.cni("CHECK", &attachment(&pod, &key, &path), Some(&pod.result)).map(drop)
    }

    /// Gives a pod other labels.
    ///
    /// # Errors
    /// When there is no such pod.
    pub fn set_labels(&self, name: &str, labels: &[(&str, &str)]) -> Result<()> {
        let key = self.pod(name)?.spec.key();
        let labels: std::collections::BTreeMap<String, String> =
            labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        self.update(|state| {
            for spec in state.spec.pods.iter_mut().filter(|p| p.key() == key) {
                spec.labels.clone_from(&labels);
            }
            if let Some(pod) = state.pods.get_mut(&key) {
                pod.spec.labels.clone_from(&labels);
            }
        })?;
        let pod = self.pod(&key)?;
        self.write_pod(&pod.spec, &pod.addresses)?;
        self.follow_pods()
    }

    /// Writes the objects a cluster begins with.
    pub(super) fn write_objects(&self, spec: &Spec) -> Result<()> {
        for (i, node) in spec.nodes.iter().enumerate() {
            self.objects.put(&objects::node(node, &pod_cidrs(i), &node_addresses(i)))?;
        }
        let named = spec.namespaces.iter().cloned();
        let used = spec.pods.iter().map(|p| &p.namespace).chain(spec.services.iter().map(|s| &s.namespace));
        let implied = used.filter(|name| !spec.namespaces.iter().any(|n| n.name == **name)).map(|name| {
            crate::spec::NamespaceSpec { name: name.clone(), labels: std::collections::BTreeMap::new() }
        });
        for namespace in named.chain(implied) {
            self.objects.put(&objects::namespace(&namespace))?;
        }
        for service in &spec.services {
            let addresses = self.state().cluster_ips(service);
            self.objects.put(&objects::service(service, &addresses))?;
        }
        for policy in &spec.policies {
            self.objects.put_text(policy)?;
        }
        for pod in &spec.pods {
            self.write_pod(pod, &[])?;
        }
        self.follow_pods()
    }

    /// Wires pods, each on a thread of its own, and starts what they run.
    pub(super) fn wire_pods(&self, pods: &[PodSpec]) -> Result<()> {
        let outcomes: Vec<Result<()>> = std::thread::scope(|scope| {
            let threads: Vec<_> = pods.iter().map(|pod| scope.spawn(|| self.wire_pod(pod))).collect();
            let join = |t: std::thread::ScopedJoinHandle<'_, Result<()>>| {
                t.join().unwrap_or_else(|_| Err(anyhow!("wiring a pod panicked")))
            };
            threads.into_iter().map(join).collect()
        });
        outcomes.into_iter().collect::<Result<()>>()?;
        self.follow_pods()?;
        for pod in pods {
            let place = Place::Pod(pod.key());
            let entry = self.entry_of(&place)?;
            self.start_workloads(&place, &entry, &pod.run, |word| self.substitute(pod, word))?;
        }
        for pod in pods {
            for i in 0..pod.run.len() {
                self.await_output(&format!("{}/{i}", pod.key()), "ready", WORKLOAD_READY_WITHIN)?;
            }
        }
        Ok(())
    }

    /// The processes of the hosts outside the cluster.
    pub(super) fn start_hosts(&self, spec: &Spec) -> Result<()> {
        let entry = self.entry_of(&Place::Internet)?;
        for host in &spec.internet {
            for (i, line) in host.run.iter().enumerate() {
                let name = format!("internet/{}/{i}", host.name);
                let words = line.iter().map(|word| self.substitute_addresses(word));
                let arguments = std::iter::once("workload".to_owned()).chain(words);
                self.launch(&name, &entry, &self.tools.lab, arguments)?;
                self.await_output(&name, "ready", WORKLOAD_READY_WITHIN)?;
            }
        }
        Ok(())
    }

    fn wire_pod(&self, spec: &PodSpec) -> Result<()> {
        let key = spec.key();
        // The object first: the agent wants to know the pod's labels when it is wired.
        self.write_pod(spec, &[])?;
        let mut pod = Pod {
            spec: spec.clone(),
            container_id: container_id(&self.layout.name, &key),
            result: Value::Null,
            addresses: Vec::new(),
        };
        if spec.host_network {
            let index = self.state().spec.nodes.iter().position(|n| n.name == spec.node).unwrap_or(0);
            pod.addresses = node_addresses(index).to_vec();
        } else {
            let path = self.layout.netns(&Place::Pod(key.clone()));
            netns::create(&path)?;
            self.prepare_pod(&path)?;
            pod.result = self.cni("ADD", &attachment(&pod, &key, &path), None)?;
            pod.addresses = addresses(&pod.result)?;
        }
        self.write_pod(spec, &pod.addresses)?;
        self.update(|state| state.pods.insert(key, pod)).map(drop)
    }

    fn start_workloads(
        &self,
        place: &Place,
        entry: &Entry,
        lines: &[Vec<String>],
        word: impl Fn(&str) -> String,
    ) -> Result<()> {
        for (i, line) in lines.iter().enumerate() {
            let arguments = std::iter::once("workload".to_owned()).chain(line.iter().map(|w| word(w)));
            self.launch(&format!("{place}/{i}"), entry, &self.tools.lab, arguments)?;
        }
        Ok(())
    }

    fn substitute(&self, pod: &PodSpec, word: &str) -> String {
        let word =
            word.replace("$POD", &pod.name).replace("$NAMESPACE", &pod.namespace).replace("$NODE", &pod.node);
        self.substitute_addresses(&word)
    }

    /// `$DNS`: the DNS service. `$HOSTS`: the names' file. `$ADDRESS(namespace/pod)`: a pod's IPv4 address.
    fn substitute_addresses(&self, word: &str) -> String {
        let state = self.state();
        let mut word = word.replace("$HOSTS", &self.layout.hosts().to_string_lossy());
        if let Some(dns) = state.dns() {
            word = word.replace("$DNS", &dns.to_string());
        }
        for (key, pod) in &state.pods {
            word = word.replace(&format!("$ADDRESS({key})"), &pod.v4().to_string());
        }
        word
    }

    fn write_pod(&self, spec: &PodSpec, addresses: &[IpAddr]) -> Result<()> {
        let index = self.state().spec.nodes.iter().position(|n| n.name == spec.node).unwrap_or(0);
        let [host, _] = node_addresses(index);
        let uid = self.layout.pod_uid(&spec.key());
        self.objects.put(&objects::pod(spec, &uid, addresses, host))
    }

    /// Brings up to date what follows from pods and services: EndpointSlices and DNS names.
    fn follow_pods(&self) -> Result<()> {
        let state = self.state();
        let pods = state.pods.values().map(|p| (&p.spec, p.addresses.as_slice()));
        self.objects.replace_all("EndpointSlice", &objects::slices(&state.spec.services, pods))?;
        let mut hosts = String::new();
        for service in &state.spec.services {
            for ip in state.cluster_ips(service) {
                hosts.push_str(&format!("{ip} {}.{}.svc.cluster.local\n", service.name, service.namespace));
            }
        }
        for host in &state.spec.internet {
            for ip in &host.addresses {
                hosts.push_str(&format!("{ip} {}\n", host.name));
            }
        }
        let write = |path: std::path::PathBuf, text: &str| {
            let draft = path.with_extension("draft");
            std::fs::write(&draft, text)
                .and_then(|()| std::fs::rename(&draft, &path))
                .with_context(|| format!("write {}", path.display()))
        };
        write(self.layout.hosts(), &hosts)?;
        let first = state.dns().map(|ip| format!("nameserver {ip}\n")).unwrap_or_default();
        write(
            self.layout.resolv_conf(),
            &format!("{first}search svc.cluster.local cluster.local\noptions ndots:5\n"),
        )
    }
}

fn attachment<'a>(pod: &'a Pod, key: &'a str, netns: &'a std::path::Path) -> Attachment<'a> {
    Attachment { node: &pod.spec.node, key, container_id: &pod.container_id, netns }
}

fn container_id(lab: &str, key: &str) -> String {
    format!("{lab}.{}", key.replace('/', "."))
}

fn addresses(result: &Value) -> Result<Vec<IpAddr>> {
    let ips = result["ips"].as_array().context("the CNI result has no ips")?;
    ips.iter()
        .map(|ip| {
            let net = ip["address"].as_str().context("an address in the CNI result is no text")?;
            let (address, _) = net.split_once('/').context("an address in the CNI result has no length")?;
            address.parse().context("an address in the CNI result is none")
        })
        .collect()
}
