//! Namespace flags: `-n shop --pod cart` means the pod `shop/cart`, `-n shop` alone any pod in it.

use fathom_api::flow::FlowFilter;

use super::filter::List;
use super::value::Refusal;

/// Merges the namespaces into pod and service names that don't name one themselves. An empty
/// namespace (`-A`) makes `/name`: any namespace.
pub(super) fn apply(list: &mut List) {
    let List { left, right, namespaces, source_namespaces, destination_namespaces, .. } = list;
    for filter in [&mut *left, &mut *right] {
        to_source(filter, source_namespaces);
        to_destination(filter, destination_namespaces);
    }
    to_source(left, namespaces);
    to_destination(right, namespaces);
}

fn to_source(filter: &mut FlowFilter, namespaces: &[String]) {
    qualify(&mut filter.source_pod, &mut filter.source_service, namespaces);
}

fn to_destination(filter: &mut FlowFilter, namespaces: &[String]) {
    qualify(&mut filter.destination_pod, &mut filter.destination_service, namespaces);
}

fn qualify(pods: &mut Vec<String>, services: &mut Vec<String>, namespaces: &[String]) {
    if namespaces.is_empty() {
        return;
    }
    if pods.is_empty() && services.is_empty() {
        pods.push(String::new());
    }
    for names in [pods, services] {
        *names = std::mem::take(names)
            .into_iter()
            .flat_map(|name| match name.contains('/') {
                true => vec![name],
                false => namespaces.iter().map(|ns| format!("{ns}/{name}")).collect(),
            })
            .collect();
    }
}

/// The namespace a name is written with; empty when there is none.
fn named(name: &str) -> &str {
    name.split_once('/').map_or("", |(namespace, _)| namespace)
}

/// Refuses names whose own namespace contradicts the namespace flags, or each other.
pub(super) fn check(list: &List) -> Result<(), Refusal> {
    for filter in [&list.left, &list.right] {
        let source = [&filter.source_pod, &filter.source_service];
        let destination = [&filter.destination_pod, &filter.destination_service];
        for names in source.into_iter().chain(destination) {
            contradicts(&list.namespaces, names)?;
        }
        source.into_iter().try_for_each(|names| contradicts(&list.source_namespaces, names))?;
        destination.into_iter().try_for_each(|names| contradicts(&list.destination_namespaces, names))?;
        for [pods, services] in [source, destination] {
            for namespace in pods.iter().map(|pod| named(pod)).filter(|ns| !ns.is_empty()) {
                if let Some(service) = services.iter().find(|service| named(service) != namespace) {
                    return Err(format!("namespace of service {service:?} conflict with pod {namespace:?}"));
                }
            }
        }
    }
    Ok(())
}

fn contradicts(namespaces: &[String], names: &[String]) -> Result<(), Refusal> {
    for namespace in namespaces {
        if let Some(name) = names.iter().find(|name| !named(name).is_empty() && named(name) != namespace) {
            return Err(format!("namespace conflict: {namespace:?} does not contain {name:?}"));
        }
    }
    Ok(())
}
