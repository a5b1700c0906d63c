//! One request: who asks, whether they may, and what is done.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use serde_json::{Value, json};

use crate::access::{self, Action, Subject};
use crate::list::{self, Listing};
use crate::patch;
use crate::refusal::Refusal;
use crate::resources::{self, Resource};
use crate::selector::Selector;
use crate::server::Shared;
use crate::target::Target;
use crate::watching;
use crate::write::{self, Deletion, How, Place};
use crate::{control, discovery, tokens};

/// Bytes of a body.
const MOST: usize = 3 << 20;
/// How long a watch lasts that does not say it.
const WATCH: Duration = Duration::from_secs(1800);

type Parameters = HashMap<String, String>;

/// How objects are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Whole,
    Metadata,
}

impl Form {
    fn read(headers: &HeaderMap) -> Self {
        let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if accept.contains("as=PartialObjectMetadata") { Form::Metadata } else { Form::Whole }
    }

    pub fn of(self, object: &Value) -> Value {
        match self {
            Form::Whole => object.clone(),
            Form::Metadata => json!({
                "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"],
            }),
        }
    }

    fn of_list(self, mut list: Value) -> Value {
        if self == Form::Metadata {
            list["kind"] = json!("PartialObjectMetadataList");
            list["apiVersion"] = json!("meta.k8s.io/v1");
            for item in list["items"].as_array_mut().into_iter().flatten() {
                *item = self.of(item);
            }
        }
        list
    }
}

/// Answers one request.
pub async fn handle(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let (delay, fault) = shared.trouble();
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    if let Some(fault) = fault {
        return fault.into_response();
    }
    let request = Request { shared, method, uri, headers, body };
    request.answer().unwrap_or_else(IntoResponse::into_response)
}

struct Request {
    shared: Arc<Shared>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
}

impl Request {
    fn answer(&self) -> Result<Response, Refusal> {
        let path = self.uri.path();
        if let Some(answer) = discovery::public(path) {
            return Ok(answer);
        }
        let subject = self.subject()?;
        if let Some(command) = path.strip_prefix("/control/") {
            if !subject.is_master() {
                return Err(forbidden(&subject, &format!("cannot use the path {path:?}")));
            }
            return control::answer(&self.shared, &self.method, command, &self.parameters());
        }
        let Some(target) = Target::read(path) else {
            if !subject.groups.iter().any(|group| group == "system:authenticated") {
                return Err(forbidden(&subject, &format!("cannot get path {path:?}")));
            }
            let answer = discovery::answer(&self.shared.store(), path).ok_or_else(Refusal::unknown_path)?;
            return Ok(Json(answer).into_response());
        };
        self.resource(&subject, &target)
    }

    fn subject(&self) -> Result<Subject, Refusal> {
        let token = self.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let admin = self.shared.options.admin_token.as_deref();
        let Some(token) = token.and_then(|value| value.strip_prefix("Bearer ")) else {
            return Ok(if admin.is_none() { Subject::admin() } else { Subject::anonymous() });
        };
        tokens::subject(&self.shared.store(), admin, token)
            .ok_or_else(|| Refusal::new(401, "Unauthorized", "Unauthorized"))
    }

    fn parameters(&self) -> Parameters {
        Query::try_from_uri(&self.uri).map(|Query(parameters)| parameters).unwrap_or_default()
    }

    fn resource(&self, subject: &Subject, target: &Target) -> Result<Response, Refusal> {
        let parameters = self.parameters();
        let parameter = |name: &str| parameters.get(name).map(String::as_str);
        let is_watch = parameter("watch").is_some_and(|watch| watch == "true" || watch == "1");
        let verb = match (&self.method, &target.name) {
            (&Method::GET, None) if is_watch => "watch",
            (&Method::GET, None) => "list",
            (&Method::GET, Some(_)) => "get",
            (&Method::POST, _) => "create",
            (&Method::PUT, Some(_)) => "update",
            (&Method::PATCH, Some(_)) => "patch",
            (&Method::DELETE, Some(_)) => "delete",
            (&Method::DELETE, None) => "deletecollection",
            _ => {
                let message = "the server does not allow this method on the requested resource";
                return Err(Refusal::new(405, "MethodNotAllowed", message));
            }
        };
        let resource = resources::find(&self.shared.store(), &target.group, &target.version, &target.plural);
        let selector = match &resource {
            Some(resource) => {
                Selector::read(parameter("labelSelector"), parameter("fieldSelector"), resource)
            }
            None => Ok(Selector::default()),
        };
        let named = selector.as_ref().ok().and_then(Selector::only_name).map(str::to_owned);
        let name = target.name.clone().or(named.filter(|_| target.name.is_none())).unwrap_or_default();
        self.allow(subject, target, verb, &name)?;
        if target.group == "authorization.k8s.io" {
            return self.review(subject);
        }
        let (resource, selector) = (resource.ok_or_else(Refusal::unknown_path)?, selector?);
        if resource.namespaced && target.namespace.is_none() && target.name.is_some() {
            return Err(Refusal::unknown_path());
        }
        if !resource.namespaced && target.namespace.is_some() {
            return Err(Refusal::unknown_path());
        }
        if verb == "watch" {
            return self.watch(resource, target, selector, &parameters);
        }
        match target.subresource.as_deref() {
            None => {}
            Some("status") if resource.status && verb != "create" && verb != "delete" => {}
            Some("token") if resource.kind == "ServiceAccount" && verb == "create" => {
                return self.token(target);
            }
            Some(_) => return Err(Refusal::unknown_path()),
        }
        self.object(subject, target, &resource, &selector, verb, &parameters)
    }

    fn allow(&self, subject: &Subject, target: &Target, verb: &str, name: &str) -> Result<(), Refusal> {
        let action = Action {
            verb: verb.to_owned(),
            group: target.group.clone(),
            resource: target.as_in_rules(),
            namespace: target.namespace.clone().unwrap_or_default(),
            name: name.to_owned(),
        };
        // Everybody may ask what they may do.
        let allowed = subject.is_master()
            || (target.group == "authorization.k8s.io" && target.plural == "selfsubjectaccessreviews")
            || access::grants(&self.shared.store(), subject).iter().any(|grant| grant.allows(&action));
        self.shared.log().note(subject, action.clone(), allowed);
        if allowed {
            return Ok(());
        }
        let scope = match &target.namespace {
            Some(namespace) => format!("in the namespace {namespace:?}"),
            None => "at the cluster scope".to_owned(),
        };
        let why = format!(
            "cannot {verb} resource {:?} in API group {:?} {scope}",
            target.as_in_rules(),
            target.group
        );
        let what = if target.group.is_empty() {
            target.plural.clone()
        } else {
            format!("{}.{}", target.plural, target.group)
        };
        let name = target.name.as_ref().map(|name| format!(" {name:?}")).unwrap_or_default();
        let message = format!("{what}{name} is forbidden: User {:?} {why}", subject.user);
        Err(Refusal::new(403, "Forbidden", message))
    }

    /// SelfSubjectAccessReview.
    fn review(&self, subject: &Subject) -> Result<Response, Refusal> {
        let mut review = self.json()?;
        let asked = &review["spec"]["resourceAttributes"];
        let text = |field: &str| asked[field].as_str().unwrap_or_default().to_owned();
        let resource = match text("subresource").as_str() {
            "" => text("resource"),
            subresource => format!("{}/{subresource}", text("resource")),
        };
        let action = Action {
            verb: text("verb"),
            group: text("group"),
            resource,
            namespace: text("namespace"),
            name: text("name"),
        };
        let allowed = subject.is_master()
            || access::grants(&self.shared.store(), subject).iter().any(|grant| grant.allows(&action));
        review["status"] = json!({"allowed": allowed});
        Ok((StatusCode::CREATED, Json(review)).into_response())
    }

    fn token(&self, target: &Target) -> Result<Response, Refusal> {
        let mut request = self.json()?;
        let seconds = request["spec"]["expirationSeconds"].as_i64().unwrap_or(3600);
        let (namespace, name) =
            (target.namespace.clone().unwrap_or_default(), target.name.clone().unwrap_or_default());
        let issued = tokens::issue(&self.shared.store(), &namespace, &name, seconds);
        let (token, expires) = issued
            .ok_or_else(|| Refusal::new(404, "NotFound", format!("serviceaccounts \"{name}\" not found")))?;
        request["status"] = json!({"token": token, "expirationTimestamp": expires.to_string()});
        Ok((StatusCode::CREATED, Json(request)).into_response())
    }

    fn watch(
        &self,
        resource: Resource,
        target: &Target,
        selector: Selector,
        parameters: &Parameters,
    ) -> Result<Response, Refusal> {
        let text = |name: &str| parameters.get(name).cloned().unwrap_or_default();
        let seconds = parameters.get("timeoutSeconds").and_then(|s| s.parse().ok()).map(Duration::from_secs);
        let asked = watching::Asked {
            namespace: target.namespace.clone(),
            selector,
            version: text("resourceVersion"),
            version_match: text("resourceVersionMatch"),
            send_initial_events: parameters
                .get("sendInitialEvents")
                .map(|value| value == "true" || value == "1"),
            bookmarks: matches!(text("allowWatchBookmarks").as_str(), "true" | "1"),
            timeout: seconds.unwrap_or(WATCH),
            form: Form::read(&self.headers),
        };
        let body = watching::begin(&self.shared, resource, asked)?;
        Ok(([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response())
    }

    fn object(
        &self,
        subject: &Subject,
        target: &Target,
        resource: &Resource,
        selector: &Selector,
        verb: &str,
        parameters: &Parameters,
    ) -> Result<Response, Refusal> {
        let form = Form::read(&self.headers);
        let text = |name: &str| parameters.get(name).cloned().unwrap_or_default();
        let how = How {
            manager: self.manager(parameters, verb),
            force: text("force") == "true",
            dry_run: text("dryRun") == "All",
        };
        let namespace = target.namespace.clone().unwrap_or_default();
        let place = Place { resource, namespace: &namespace, subresource: target.subresource.as_deref() };
        let name = target.name.clone().unwrap_or_default();
        let mut store = self.shared.store();
        let answer = |code: StatusCode, object: &Value| (code, Json(form.of(object))).into_response();
        Ok(match verb {
            "list" => {
                let asked = Listing {
                    limit: text("limit").parse().unwrap_or(0),
                    go_on: text("continue"),
                    version: text("resourceVersion"),
                    version_match: text("resourceVersionMatch"),
                };
                let list = list::list(&store, resource, target.namespace.as_deref(), selector, &asked)?;
                Json(form.of_list(list)).into_response()
            }
            "get" => {
                let key = crate::store::Key::new(&namespace, &name);
                let object = store.get(&resource.place(), &key);
                answer(StatusCode::OK, &*object.ok_or_else(|| Refusal::not_found(resource, &name))?)
            }
            "create" if target.name.is_some() => return Err(Refusal::unknown_path()),
            "create" => answer(StatusCode::CREATED, &*write::create(&mut store, place, self.json()?, &how)?),
            "update" => {
                answer(StatusCode::OK, &*write::replace(&mut store, place, &name, self.json()?, &how)?)
            }
            "patch" => {
                let form = patch::Form::read(self.content_type(), resource)?;
                let is_new =
                    store.get(&resource.place(), &crate::store::Key::new(&namespace, &name)).is_none();
                if form == patch::Form::Apply && is_new {
                    // An apply that makes the object is a creation as well.
                    drop(store);
                    self.allow(subject, target, "create", "")?;
                    store = self.shared.store();
                }
                let (object, made) = write::patch(&mut store, place, &name, form, &self.json()?, &how)?;
                answer(if made { StatusCode::CREATED } else { StatusCode::OK }, &object)
            }
            "delete" => {
                let deletion = self.deletion(parameters)?;
                let object = write::delete(&mut store, place, &name, &deletion, how.dry_run)?;
                let remains =
                    store.get(&resource.place(), &crate::store::Key::new(&namespace, &name)).is_some();
                if remains || resource.kind == "Pod" {
                    answer(StatusCode::OK, &object)
                } else {
                    let details = json!({"name": name, "group": resource.group, "kind": resource.plural,
                        "uid": object["metadata"]["uid"]});
                    Json(success(details)).into_response()
                }
            }
            _ => {
                let deletion = self.deletion(parameters)?;
                let list =
                    list::list(&store, resource, target.namespace.as_deref(), selector, &Listing::default())?;
                for item in list["items"].as_array().into_iter().flatten() {
                    let field = |field: &str| item["metadata"][field].as_str().unwrap_or_default().to_owned();
                    let (namespace, name) = (field("namespace"), field("name"));
                    let place = Place { namespace: &namespace, ..place };
                    write::delete(&mut store, place, &name, &deletion, how.dry_run)?;
                }
                Json(form.of_list(list)).into_response()
            }
        })
    }

    /// Who is said to write: for an apply what the request says, else the client's name will do.
    fn manager(&self, parameters: &Parameters, verb: &str) -> String {
        let is_apply = verb == "patch" && self.content_type().starts_with("application/apply-patch");
        match parameters.get("fieldManager") {
            Some(manager) => manager.clone(),
            None if is_apply => String::new(),
            None => {
                let agent = self.headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok());
                agent.and_then(|agent| agent.split('/').next()).unwrap_or("unknown").to_owned()
            }
        }
    }

    fn content_type(&self) -> &str {
        self.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    fn deletion(&self, parameters: &Parameters) -> Result<Deletion, Refusal> {
        let mut deletion = Deletion::default();
        if !self.body.is_empty() {
            deletion = Deletion::read(&self.json()?);
        }
        if let Some(seconds) = parameters.get("gracePeriodSeconds").and_then(|seconds| seconds.parse().ok()) {
            deletion.grace = Some(seconds);
        }
        Ok(deletion)
    }

    fn json(&self) -> Result<Value, Refusal> {
        if self.body.len() > MOST {
            return Err(Refusal::new(413, "RequestEntityTooLarge", "limit is 3145728"));
        }
        if self.content_type().contains("yaml") {
            let text = std::str::from_utf8(&self.body).map_err(|e| Refusal::bad_request(e.to_string()))?;
            return serde_saphyr::from_str(text).map_err(|error| Refusal::bad_request(error.to_string()));
        }
        serde_json::from_slice(&self.body).map_err(|error| Refusal::bad_request(error.to_string()))
    }
}

pub fn success(details: Value) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}

fn forbidden(subject: &Subject, why: &str) -> Refusal {
    Refusal::new(403, "Forbidden", format!("forbidden: User {:?} {why}", subject.user))
}

/// The router of a server.
pub fn router(shared: Arc<Shared>) -> axum::Router {
    let limit = axum::extract::DefaultBodyLimit::max(2 * MOST);
    axum::Router::new().fallback(handle).layer(limit).with_state(shared)
}

/// An empty answer.
pub fn nothing() -> Response {
    (StatusCode::NO_CONTENT, Body::empty()).into_response()
}
