//! Create, replace, patch, delete.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::managers::{self, Entry, Writer};
use crate::merge::Shape;
use crate::patch::Form;
use crate::refusal::Refusal;
use crate::resources::{self, DEFINITIONS, Resource};
use crate::store::{Key, Store};
use crate::{admission, apply, patch, schema};

/// How something is written.
#[derive(Clone, Debug)]
pub struct How {
    pub manager: String,
    pub force: bool,
    pub dry_run: bool,
}

/// Where: a resource, and an object's key in it.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    pub resource: &'a Resource,
    pub namespace: &'a str,
    pub subresource: Option<&'a str>,
}

impl Place<'_> {
    fn key(&self, name: &str) -> Key {
        Key::new(if self.resource.namespaced { self.namespace } else { "" }, name)
    }

    fn current(&self, store: &Store, name: &str) -> Result<Arc<Value>, Refusal> {
        let there = store.get(&self.resource.place(), &self.key(name));
        there.ok_or_else(|| Refusal::not_found(self.resource, name))
    }

    fn writer(&self, how: &How, operation: &'static str) -> Writer {
        let subresource = self.subresource.unwrap_or_default().to_owned();
        Writer { manager: how.manager.clone(), operation, subresource }
    }
}

/// Makes an object.
///
/// # Errors
/// 400, 404, 409, 422.
pub fn create(
    store: &mut Store,
    place: Place<'_>,
    mut object: Value,
    how: &How,
) -> Result<Arc<Value>, Refusal> {
    let resource = place.resource;
    check_type(resource, &mut object)?;
    if object["metadata"]["name"].as_str().unwrap_or_default().is_empty() {
        let Some(prefix) = object["metadata"]["generateName"].as_str().filter(|p| !p.is_empty()) else {
            let cause =
                ("metadata.name".to_owned(), "Required value: name or generateName is required".to_owned());
            return Err(Refusal::invalid(resource, "", vec![cause]));
        };
        object["metadata"]["name"] = json!(format!("{prefix}{}", &unique()[..5]));
    }
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    check_names(place, &object, &name)?;
    if object["metadata"].get("resourceVersion").is_some_and(|v| !v.is_null() && v != "") {
        return Err(Refusal::bad_request("resourceVersion should not be set on objects to be created"));
    }
    admission::namespace(store, resource, place.namespace, &name)?;
    if store.get(&resource.place(), &place.key(&name)).is_some() {
        return Err(Refusal::exists(resource, &name));
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        for field in ["managedFields", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"] {
            metadata.remove(field);
        }
    }
    admission::prepare(resource, &mut object);
    let mut entries = Vec::new();
    managers::updated(&mut entries, &place.writer(how, "Update"), &json!({}), &object, &Shape::of(resource));
    finish_new(store, place, &name, object, &entries, how)
}

fn finish_new(
    store: &mut Store,
    place: Place<'_>,
    name: &str,
    mut object: Value,
    entries: &[Entry],
    how: &How,
) -> Result<Arc<Value>, Refusal> {
    let resource = place.resource;
    let metadata = &mut object["metadata"];
    if resource.namespaced {
        metadata["namespace"] = json!(place.namespace);
    }
    if metadata["uid"].as_str().unwrap_or_default().is_empty() {
        metadata["uid"] = json!(uid());
    }
    metadata["creationTimestamp"] = json!(managers::now());
    metadata["generation"] = json!(1);
    object = in_order(resource, name, object, None)?;
    managers::write(&mut object, resource, entries);
    if how.dry_run {
        return Ok(Arc::new(object));
    }
    Ok(store.commit(&resource.place(), place.key(name), object, false))
}

/// An object after the schema and the server's own rules.
fn in_order(
    resource: &Resource,
    name: &str,
    mut object: Value,
    before: Option<&Value>,
) -> Result<Value, Refusal> {
    admission::default(resource, &mut object);
    let mut faults = admission::faults(resource, &object, before);
    if let Some(rules) = resource.custom.as_ref().and_then(|custom| custom.schema.as_deref()) {
        schema::prune(&mut object, rules);
        schema::default(&mut object, rules);
        faults.extend(schema::faults(&object, before, rules));
    }
    if faults.is_empty() { Ok(object) } else { Err(Refusal::invalid(resource, name, faults)) }
}

/// Writes a whole object over the one that is there.
///
/// # Errors
/// 400, 404, 409, 422.
pub fn replace(
    store: &mut Store,
    place: Place<'_>,
    name: &str,
    mut object: Value,
    how: &How,
) -> Result<Arc<Value>, Refusal> {
    let resource = place.resource;
    check_type(resource, &mut object)?;
    check_names(place, &object, name)?;
    let there = place.current(store, name)?;
    let version = object["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    let unconditional = resource.custom.is_none() && resource.kind != "Lease";
    if version.is_empty() && !unconditional {
        let cause = "Invalid value: 0: must be specified for an update".to_owned();
        return Err(Refusal::invalid(resource, name, vec![("metadata.resourceVersion".to_owned(), cause)]));
    }
    check_version(resource, name, &there, &object)?;
    change(store, place, name, &there, object, None, how)
}

/// Changes the object that is there; an apply makes one that is not.
///
/// # Errors
/// 400, 404, 409, 415, 422.
pub fn patch(
    store: &mut Store,
    place: Place<'_>,
    name: &str,
    form: Form,
    body: &Value,
    how: &How,
) -> Result<(Arc<Value>, bool), Refusal> {
    let resource = place.resource;
    if form != Form::Apply {
        let there = place.current(store, name)?;
        let object = patch::patched(resource, form, &there, body)?;
        check_version(resource, name, &there, &object)?;
        return Ok((change(store, place, name, &there, object, None, how)?, false));
    }
    let mut applied = body.clone();
    if applied["apiVersion"].is_null() || applied["kind"].is_null() {
        return Err(Refusal::bad_request("apiVersion and kind must be set on what is applied"));
    }
    if applied["metadata"].get("managedFields").is_some_and(|m| m.as_array().is_none_or(|m| !m.is_empty())) {
        return Err(Refusal::bad_request("metadata.managedFields must be nil"));
    }
    check_type(resource, &mut applied)?;
    if applied["metadata"]["name"].is_null() {
        applied["metadata"]["name"] = json!(name);
    }
    check_names(place, &applied, name)?;
    if how.manager.is_empty() {
        return Err(Refusal::bad_request("fieldManager is required for apply patch"));
    }
    let writer = place.writer(how, "Apply");
    let Some(there) = store.get(&resource.place(), &place.key(name)) else {
        if place.subresource.is_some() {
            return Err(Refusal::not_found(resource, name));
        }
        if applied["metadata"].get("resourceVersion").is_some() {
            return Err(Refusal::modified(resource, name));
        }
        admission::namespace(store, resource, place.namespace, name)?;
        let mut object = applied.clone();
        admission::prepare(resource, &mut object);
        let (_, entries) = apply::apply(resource, &json!({"metadata": {}}), &applied, &writer, how.force)?;
        return Ok((finish_new(store, place, name, object, &entries, how)?, true));
    };
    check_version(resource, name, &there, &applied)?;
    // Each of status and the rest is applied through its own door.
    if let Some(applied) = applied.as_object_mut() {
        match place.subresource {
            Some(_) => applied
                .retain(|field, _| ["apiVersion", "kind", "metadata", "status"].contains(&field.as_str())),
            None if resource.status => drop(applied.remove("status")),
            None => {}
        }
    }
    if place.subresource.is_some() {
        applied["metadata"] = json!({"name": name});
    }
    let (object, entries) = apply::apply(resource, &there, &applied, &writer, how.force)?;
    Ok((change(store, place, name, &there, object, Some(entries), how)?, false))
}

/// The part of a write that all forms share. `entries`: who owns what then, where that is known already.
fn change(
    store: &mut Store,
    place: Place<'_>,
    name: &str,
    there: &Arc<Value>,
    mut object: Value,
    entries: Option<Vec<Entry>>,
    how: &How,
) -> Result<Arc<Value>, Refusal> {
    let resource = place.resource;
    let only_status = place.subresource == Some("status");
    let take = |from: &Value, to: &mut Value, field: &str| match from.get(field) {
        Some(value) => to[field] = value.clone(),
        None => drop(to.as_object_mut().map(|to| to.remove(field))),
    };
    if only_status {
        let mut whole = (**there).clone();
        take(&object, &mut whole, "status");
        object = whole;
    } else if resource.status {
        take(there, &mut object, "status");
    }
    if !object["metadata"].is_object() {
        return Err(Refusal::bad_request("metadata must be an object"));
    }
    for field in [
        "uid",
        "creationTimestamp",
        "name",
        "namespace",
        "generateName",
        "generation",
        "resourceVersion",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "managedFields",
    ] {
        take(&there["metadata"], &mut object["metadata"], field);
    }
    let mut object = in_order(resource, name, object, Some(there))?;
    let entries = entries.unwrap_or_else(|| {
        let mut entries = managers::read(there);
        managers::updated(&mut entries, &place.writer(how, "Update"), there, &object, &Shape::of(resource));
        entries
    });
    let is_same = object == **there;
    managers::write(&mut object, resource, &entries);
    if is_same && object["metadata"]["managedFields"] == there["metadata"]["managedFields"] {
        return Ok(there.clone());
    }
    if !only_status && is_spec_changed(there, &object) {
        let generation = there["metadata"]["generation"].as_i64().unwrap_or(0) + 1;
        object["metadata"]["generation"] = json!(generation);
    }
    if how.dry_run {
        return Ok(Arc::new(object));
    }
    let is_over = object["metadata"].get("deletionTimestamp").is_some()
        && object["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty)
        && object["metadata"]["deletionGracePeriodSeconds"].as_u64().unwrap_or(0) == 0;
    Ok(store.commit(&resource.place(), place.key(name), object, is_over))
}

/// Whether anything but metadata and status differs.
fn is_spec_changed(before: &Value, after: &Value) -> bool {
    let rest = |object: &Value| {
        let mut object = object.as_object().cloned().unwrap_or_default();
        object.remove("metadata");
        object.remove("status");
        object
    };
    rest(before) != rest(after)
}

/// What a deletion asks for.
#[derive(Clone, Debug, Default)]
pub struct Deletion {
    pub uid: Option<String>,
    pub version: Option<String>,
    pub grace: Option<u64>,
}

impl Deletion {
    pub fn read(options: &Value) -> Self {
        let text = |path: &str| options.pointer(path).and_then(Value::as_str).map(str::to_owned);
        Deletion {
            uid: text("/preconditions/uid"),
            version: text("/preconditions/resourceVersion"),
            grace: options["gracePeriodSeconds"].as_u64(),
        }
    }
}

/// Deletes an object, or says on it that it shall go when its finalizers and its grace are over.
///
/// # Errors
/// 404, 409 when a precondition does not hold.
pub fn delete(
    store: &mut Store,
    place: Place<'_>,
    name: &str,
    deletion: &Deletion,
    dry_run: bool,
) -> Result<Arc<Value>, Refusal> {
    let resource = place.resource;
    let there = place.current(store, name)?;
    for (field, wanted) in [("uid", &deletion.uid), ("resourceVersion", &deletion.version)] {
        let found = there["metadata"][field].as_str().unwrap_or_default();
        if let Some(wanted) = wanted
            && wanted != found
        {
            let field = if field == "uid" { "UID" } else { "ResourceVersion" };
            let why = format!(
                "the {field} in the precondition ({wanted}) does not match the {field} in record ({found}). \
                 The object might have been deleted and then recreated"
            );
            return Err(Refusal::conflict(resource, name, &why));
        }
    }
    if dry_run {
        return Ok(there);
    }
    let place_name = resource.place();
    let has_finalizers = there["metadata"]["finalizers"].as_array().is_some_and(|list| !list.is_empty());
    let grace = grace(resource, &there, deletion);
    if has_finalizers || grace > 0 {
        let mut object = (*there).clone();
        let before = object["metadata"]["deletionGracePeriodSeconds"].as_u64().unwrap_or(u64::MAX);
        if object["metadata"].get("deletionTimestamp").is_some() && before <= grace {
            return Ok(there);
        }
        object["metadata"]["deletionTimestamp"] = json!(managers::now());
        object["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
        return Ok(store.commit(&place_name, place.key(name), object, false));
    }
    if place_name == "namespaces" {
        empty_namespace(store, name);
    }
    if place_name == DEFINITIONS {
        for custom in resources::defined(&there) {
            remove_all(store, &custom.place(), |_| true);
        }
    }
    Ok(store.commit(&place_name, place.key(name), (*there).clone(), true))
}

/// A pod on a node is let end first: its kubelet deletes it for good.
fn grace(resource: &Resource, object: &Value, deletion: &Deletion) -> u64 {
    let is_pod = resource.group.is_empty() && resource.kind == "Pod";
    let phase = object["status"]["phase"].as_str().unwrap_or_default();
    if !is_pod || object["spec"]["nodeName"].is_null() || ["Succeeded", "Failed"].contains(&phase) {
        return 0;
    }
    let own = object["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap_or(30);
    deletion.grace.unwrap_or(own)
}

fn empty_namespace(store: &mut Store, namespace: &str) {
    let places: Vec<String> =
        resources::all(store).iter().filter(|r| r.namespaced).map(Resource::place).collect();
    for place in places {
        remove_all(store, &place, |key| key.namespace == namespace);
    }
}

fn remove_all(store: &mut Store, place: &str, which: impl Fn(&Key) -> bool) {
    let chosen: Vec<_> =
        store.objects(place).filter(|(key, _)| which(key)).map(|(k, o)| (k.clone(), o.clone())).collect();
    for (key, object) in chosen {
        store.commit(place, key, (*object).clone(), true);
    }
}

fn check_type(resource: &Resource, object: &mut Value) -> Result<(), Refusal> {
    if !object.is_object() {
        return Err(Refusal::bad_request("the body must be an object"));
    }
    let api_version = resource.api_version();
    for (field, wanted) in [("apiVersion", api_version.as_str()), ("kind", resource.kind.as_str())] {
        match object[field].as_str() {
            None | Some("") => object[field] = json!(wanted),
            Some(found) if found == wanted => {}
            Some(found) => {
                let message = format!(
                    "the API version and kind in the data do not match the expected ones: {field} is {found}, expected {wanted}"
                );
                return Err(Refusal::bad_request(message));
            }
        }
    }
    if !object["metadata"].is_object() && !object["metadata"].is_null() {
        return Err(Refusal::bad_request("metadata must be an object"));
    }
    if object["metadata"].is_null() {
        object["metadata"] = json!({});
    }
    Ok(())
}

fn check_names(place: Place<'_>, object: &Value, name: &str) -> Result<(), Refusal> {
    let metadata = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    if metadata("name") != name {
        let message = format!(
            "the name of the object ({}) does not match the name on the URL ({name})",
            metadata("name")
        );
        return Err(Refusal::bad_request(message));
    }
    let namespace = metadata("namespace");
    if place.resource.namespaced && place.namespace.is_empty() {
        return Err(Refusal::bad_request("an empty namespace may not be set during creation"));
    }
    if !namespace.is_empty() && (namespace != place.namespace || !place.resource.namespaced) {
        let message = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(Refusal::bad_request(message));
    }
    Ok(())
}

/// Who names a version, or a uid, means that form of the object and no other.
fn check_version(resource: &Resource, name: &str, there: &Value, object: &Value) -> Result<(), Refusal> {
    let version = object["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    if !version.is_empty() && there["metadata"]["resourceVersion"] != version {
        return Err(Refusal::modified(resource, name));
    }
    let uid = object["metadata"]["uid"].as_str().unwrap_or_default();
    if !uid.is_empty() && there["metadata"]["uid"] != uid {
        let why = format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            there["metadata"]["uid"].as_str().unwrap_or_default()
        );
        return Err(Refusal::conflict(resource, name, &why));
    }
    Ok(())
}

fn uid() -> String {
    let hex = unique();
    format!("{}-{}-4{}-a{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..32])
}

/// 32 digits that no other call returns.
fn unique() -> String {
    let (a, b) = (RandomState::new(), RandomState::new());
    format!("{:016x}{:016x}", a.hash_one(1), b.hash_one(jiff::Timestamp::now().as_nanosecond()))
}
