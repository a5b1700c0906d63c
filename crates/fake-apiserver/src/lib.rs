//! An API server in memory, faithful to the Kubernetes API conventions, for tests of what speaks with one.
//!
//! * [`resources`]: what is served: a table of built-in resources, and whatever definitions are created.
//! * [`store`]: objects with one version for all of them, and what changed when.
//! * [`write`]: create, replace, patch, delete; [`patch`] and [`apply`] are the forms of a patch, [`managers`]
//!   says who owns which field, [`admission`] what the server itself fills in, [`schema`] what a definition asks for.
//! * [`list`] and [`watching`]: how objects are read, with [`selector`].
//! * [`access`]: who may do what, and who did.
//! * [`handle`]: one request; [`server`]: the listener, and what tests may do to it.
//!
//! What it is not: an API server. No controllers run, so nothing makes EndpointSlices or token Secrets, and no
//! kubelet; requests are judged by RBAC alone; and a uid that comes with a new object is kept, so that a lab knows
//! its pods' before they are there.
//! References: <https://kubernetes.io/docs/reference/using-api/api-concepts/>,
//! <https://kubernetes.io/docs/reference/using-api/server-side-apply/>,
//! <https://kubernetes.io/docs/reference/access-authn-authz/rbac/>.
#![forbid(unsafe_code)]

pub mod access;
pub mod admission;
pub mod apply;
pub mod control;
pub mod discovery;
pub mod fields;
pub mod handle;
pub mod list;
pub mod managers;
pub mod merge;
pub mod patch;
pub mod refusal;
pub mod resources;
pub mod schema;
pub mod selector;
pub mod server;
pub mod store;
pub mod target;
pub mod tokens;
pub mod watching;
pub mod write;

pub use server::{ApiServer, Options};
