//! Certificates kept in Secrets of an API server, with no more rights than the manifests give.

use std::time::Duration;

use fathom_fake_apiserver::{ApiServer, Options};
use fathom_kubernetes::certificates::Lives;
use fathom_kubernetes::certificates::keep::Keeper;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, Config};
use serde_json::json;

const NAMESPACE: &str = "kube-system";
const SECRETS: [&str; 4] = ["fathom-authority", "fathom-agent-tls", "fathom-relay-tls", "fathom-client-tls"];
const NOW: i64 = 2_000_000_000;

struct Cluster {
    server: ApiServer,
    admin: Api<Secret>,
}

fn client(server: &ApiServer, token: &str) -> Client {
    let mut config = Config::new(server.url().parse().unwrap());
    config.auth_info.token = Some(token.to_owned().into());
    Client::try_from(config).unwrap()
}

impl Cluster {
    /// With the Secrets, empty as they come, and a role that names them.
    async fn new() -> Self {
        let options = Options { admin_token: Some("admin".into()), ..Options::default() };
        let server = ApiServer::start(options).await.unwrap();
        for name in SECRETS {
            server
                .put(&json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque",
                    "metadata": {"name": name, "namespace": NAMESPACE}}))
                .unwrap();
        }
        let group = "rbac.authorization.k8s.io";
        let rules = json!([{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "update"],
            "resourceNames": SECRETS}]);
        let metadata = json!({"name": "fathom-relay", "namespace": NAMESPACE});
        server
            .put(&json!({"apiVersion": format!("{group}/v1"), "kind": "Role", "metadata": metadata, "rules": rules}))
            .unwrap();
        server
            .put(&json!({"apiVersion": format!("{group}/v1"), "kind": "RoleBinding", "metadata": metadata,
                "roleRef": {"apiGroup": group, "kind": "Role", "name": "fathom-relay"},
                "subjects": [{"kind": "ServiceAccount", "namespace": NAMESPACE, "name": "fathom-relay"}]}))
            .unwrap();
        let admin = Api::namespaced(client(&server, "admin"), NAMESPACE);
        Cluster { server, admin }
    }

    fn keeper(&self) -> Keeper {
        let token = self.server.token(NAMESPACE, "fathom-relay").unwrap();
        Keeper::new(client(&self.server, &token), NAMESPACE, "default", Lives::default())
    }

    async fn text(&self, secret: &str, key: &str) -> String {
        let data = self.admin.get(secret).await.unwrap().data.unwrap_or_default();
        String::from_utf8(data.get(key).map_or_else(Vec::new, |bytes| bytes.0.clone())).unwrap()
    }
}

#[tokio::test]
async fn secrets_are_filled_once_and_left_alone_until_something_is_due() {
    let cluster = Cluster::new().await;
    let keeper = cluster.keeper();
    keeper.round(NOW).await.unwrap();
    let first = cluster.text("fathom-agent-tls", "tls.crt").await;
    assert!(first.starts_with("-----BEGIN CERTIFICATE-----"));
    assert_eq!(
        cluster.text("fathom-agent-tls", "ca.crt").await,
        cluster.text("fathom-authority", "ca.crt").await
    );
    let expiry = keeper.expiry();
    assert_eq!(expiry.len(), 3);
    assert_eq!(expiry["fathom-relay-tls"], NOW + 7 * 24 * 3600);

    // Another relay leads now, and finds nothing to do.
    let version = cluster.admin.get("fathom-agent-tls").await.unwrap().metadata.resource_version;
    cluster.keeper().round(NOW + 60).await.unwrap();
    assert_eq!(cluster.admin.get("fathom-agent-tls").await.unwrap().metadata.resource_version, version);

    cluster.keeper().round(NOW + 5 * 24 * 3600).await.unwrap();
    assert_ne!(cluster.text("fathom-agent-tls", "tls.crt").await, first);
    let (_, denied) = cluster.server.asked();
    assert!(denied.is_empty(), "{denied:#?}");
    assert!(cluster.server.unused(NAMESPACE, "fathom-relay").is_empty(), "every right is needed");
}

#[tokio::test]
async fn two_leaders_at_once_end_with_one_authority_that_signed_everything() {
    let cluster = Cluster::new().await;
    let (one, other) = (cluster.keeper(), cluster.keeper());
    // Whoever lost a write tries again, as the loop does.
    for _ in 0..4 {
        let _ = tokio::join!(one.round(NOW), other.round(NOW));
    }
    one.round(NOW).await.unwrap();
    let authority = cluster.text("fathom-authority", "ca.crt").await;
    assert_eq!(authority.matches("BEGIN CERTIFICATE").count(), 1);
    for secret in &SECRETS[1..] {
        assert_eq!(cluster.text(secret, "ca.crt").await, authority, "{secret}");
    }
}

#[tokio::test]
async fn a_secret_that_is_not_there_is_named_and_made_good_when_it_comes() {
    let cluster = Cluster::new().await;
    cluster.server.remove("v1", "Secret", NAMESPACE, "fathom-client-tls").unwrap();
    let keeper = cluster.keeper();
    let error = keeper.round(NOW).await.unwrap_err().to_string();
    assert!(error.contains("Secret kube-system/fathom-client-tls") && error.contains("manifests"), "{error}");
    let (lead, leading) = tokio::sync::watch::channel(false);
    let stop = tokio_util::sync::CancellationToken::new();
    cluster
        .server
        .put(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "fathom-client-tls", "namespace": NAMESPACE}}))
        .unwrap();
    let (ended, running) = (stop.clone(), tokio::spawn(async move { keeper.run(leading, stop).await }));
    lead.send_replace(true);
    tokio::time::timeout(Duration::from_secs(20), async {
        while cluster.text("fathom-client-tls", "tls.crt").await.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("the certificate comes");
    ended.cancel();
    running.await.unwrap();
}
