//! All objects the agent knows: a plain synchronous structure that deltas go into.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::model::{EndpointSlice, Kind, Namespace, NetworkPolicy, Node, Object, ObjectKey, Pod, Service};
use super::source::Delta;

/// (namespace, name); the namespace of cluster-scoped objects is empty.
pub type Name = (Arc<str>, Arc<str>);

/// Objects of one kind.
#[derive(Debug)]
pub struct Store<T> {
    items: BTreeMap<Name, Item<T>>,
    /// Number of the listing that is under way, or the last one.
    listing: u64,
    complete: bool,
}

#[derive(Debug)]
struct Item<T> {
    object: Arc<T>,
    listing: u64,
}

impl<T> Default for Store<T> {
    fn default() -> Self {
        Store { items: BTreeMap::new(), listing: 0, complete: false }
    }
}

impl<T: PartialEq> Store<T> {
    /// Objects in order of namespace and name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<T>> + '_ {
        self.items.values().map(|item| &item.object)
    }

    pub fn get(&self, namespace: &str, name: &str) -> Option<&Arc<T>> {
        self.items.get(&(namespace.into(), name.into())).map(|item| &item.object)
    }

    pub fn len(&self) -> usize {
        self.items.len()
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    fn upsert(&mut self, name: Name, object: Arc<T>) -> bool {
        let listing = self.listing;
        match self.items.get_mut(&name) {
            Some(item) => {
                item.listing = listing;
                let changed = item.object != object;
                if changed {
                    item.object = object;
                }
                changed
            }
            None => {
                self.items.insert(name, Item { object, listing });
                true
            }
        }
    }

    fn keep(&mut self, name: &Name) {
        if let Some(item) = self.items.get_mut(name) {
            item.listing = self.listing;
        }
    }

    fn end_listing(&mut self) -> bool {
        let (listing, before, was_complete) = (self.listing, self.items.len(), self.complete);
        self.items.retain(|_, item| item.listing == listing);
        self.complete = true;
        before != self.items.len() || !was_complete
    }
}

/// Every object, by kind.
#[derive(Debug, Default)]
pub struct Index {
    pub namespaces: Store<Namespace>,
    pub nodes: Store<Node>,
    pub pods: Store<Pod>,
    pub services: Store<Service>,
    pub slices: Store<EndpointSlice>,
    pub policies: Store<NetworkPolicy>,
}

/// Runs `$body` with `$store` bound to the store of `$kind`.
macro_rules! with_store {
    ($index:expr, $kind:expr, $store:ident => $body:expr) => {
        match $kind {
            Kind::Namespace => {
                let $store = &mut $index.namespaces;
                $body
            }
            Kind::Node => {
                let $store = &mut $index.nodes;
                $body
            }
            Kind::Pod => {
                let $store = &mut $index.pods;
                $body
            }
            Kind::Service => {
                let $store = &mut $index.services;
                $body
            }
            Kind::EndpointSlice => {
                let $store = &mut $index.slices;
                $body
            }
            Kind::NetworkPolicy => {
                let $store = &mut $index.policies;
                $body
            }
        }
    };
}

impl Index {
    /// Takes one delta in; true when anything changed, completeness included.
    pub fn apply(&mut self, delta: Delta) -> bool {
        match delta {
            Delta::Listing(kind) => {
                with_store!(self, kind, store => store.listing += 1);
                false
            }
            Delta::Complete(kind) => with_store!(self, kind, store => store.end_listing()),
            Delta::Remove(ObjectKey { kind, namespace, name }) => {
                with_store!(self, kind, store => store.items.remove(&(namespace, name)).is_some())
            }
            Delta::Keep(ObjectKey { kind, namespace, name }) => {
                with_store!(self, kind, store => store.keep(&(namespace, name)));
                false
            }
            Delta::Upsert(key, object) => self.upsert((key.namespace, key.name), object),
        }
    }

    fn upsert(&mut self, name: Name, object: Object) -> bool {
        match object {
            Object::Namespace(o) => self.namespaces.upsert(name, o),
            Object::Node(o) => self.nodes.upsert(name, o),
            Object::Pod(o) => self.pods.upsert(name, o),
            Object::Service(o) => self.services.upsert(name, o),
            Object::EndpointSlice(o) => self.slices.upsert(name, o),
            Object::NetworkPolicy(o) => self.policies.upsert(name, o),
        }
    }

    /// Whether every kind has been listed once: before that, absence means nothing.
    pub fn is_complete(&self) -> bool {
        self.namespaces.complete
            && self.nodes.complete
            && self.pods.complete
            && self.services.complete
            && self.slices.complete
            && self.policies.complete
    }

    /// Labels of a namespace; empty when no object describes it.
    pub fn namespace_labels(&self, namespace: &str) -> Option<&super::model::Labels> {
        self.namespaces.get("", namespace).map(|n| &n.labels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace(name: &str, label: &str) -> Delta {
        let labels = [("team".to_owned(), label.to_owned())].into();
        let object = Object::Namespace(Arc::new(Namespace { name: name.into(), labels }));
        Delta::Upsert(ObjectKey::new(Kind::Namespace, "", name), object)
    }

    fn names(index: &Index) -> Vec<&str> {
        index.namespaces.iter().map(|n| &*n.name).collect()
    }

    #[test]
    fn a_listing_removes_what_it_does_not_name_and_only_when_it_is_complete() {
        let mut index = Index::default();
        index.apply(namespace("a", "x"));
        index.apply(namespace("b", "x"));
        index.apply(Delta::Listing(Kind::Namespace));
        assert!(!index.apply(namespace("b", "x")), "the same object again is no change");
        assert_eq!(names(&index), ["a", "b"], "a listing that is under way removes nothing");
        assert!(index.apply(Delta::Complete(Kind::Namespace)));
        assert_eq!(names(&index), ["b"]);
    }

    #[test]
    fn what_a_listing_names_but_cannot_read_stays_as_it_was() {
        let mut index = Index::default();
        index.apply(namespace("a", "x"));
        index.apply(Delta::Listing(Kind::Namespace));
        assert!(!index.apply(Delta::Keep(ObjectKey::new(Kind::Namespace, "", "a"))));
        assert!(!index.apply(Delta::Keep(ObjectKey::new(Kind::Namespace, "", "never-read"))));
        index.apply(Delta::Complete(Kind::Namespace));
        assert_eq!(names(&index), ["a"]);
    }

    #[test]
    fn completeness_needs_every_kind_once() {
        let mut index = Index::default();
        for kind in Kind::ALL {
            assert!(!index.is_complete(), "before {kind:?}");
            assert!(index.apply(Delta::Complete(kind)), "becoming complete is a change");
            assert!(!index.apply(Delta::Complete(kind)));
        }
        assert!(index.is_complete());
        index.apply(Delta::Listing(Kind::Pod));
        assert!(index.is_complete(), "a second listing does not make the first undone");
    }

    #[test]
    fn an_edit_is_a_change_and_a_removal_of_nothing_is_not() {
        let mut index = Index::default();
        assert!(index.apply(namespace("a", "x")));
        assert!(index.apply(namespace("a", "y")));
        let key = ObjectKey::new(Kind::Namespace, "", "a");
        assert!(index.apply(Delta::Remove(key.clone())));
        assert!(!index.apply(Delta::Remove(key)));
    }
}
