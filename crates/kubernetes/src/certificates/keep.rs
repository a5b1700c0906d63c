//! The Secrets, kept up to date by whoever leads.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::authority::{Authorities, Signer};
use super::certificate::Certificate;
use super::leaf::{AUTHORITY, Leaf, Shown, leaves};
use super::{CertificateError, Lives};
use crate::connect::explain;

/// Time between looks at the most; less where lives are short.
const LOOK: Duration = Duration::from_secs(60);
/// Time until another attempt after a failure.
const RETRY: Duration = Duration::from_secs(2);

/// Keeps the certificates of one cluster.
pub struct Keeper {
    api: Api<Secret>,
    namespace: String,
    leaves: Vec<Leaf>,
    lives: Lives,
    expiry: Mutex<BTreeMap<&'static str, i64>>,
}

/// Why a round did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    #[error("Secret {namespace}/{name}: {why}")]
    Secret { namespace: String, name: String, why: String },
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

impl Keeper {
    pub fn new(client: Client, namespace: &str, cluster: &str, lives: Lives) -> Self {
        Keeper {
            api: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
            leaves: leaves(namespace, cluster),
            lives,
            expiry: Mutex::default(),
        }
    }

    /// When each certificate expires, as this process last saw or made it; unix seconds by Secret.
    pub fn expiry(&self) -> BTreeMap<&'static str, i64> {
        self.expiry.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps them until `stop`, while `leading` says so.
    pub async fn run(&self, mut leading: watch::Receiver<bool>, stop: CancellationToken) {
        let look = LOOK.min(self.lives.overlap / 4).max(Duration::from_millis(100));
        let mut said = String::new();
        loop {
            let mut next = look;
            if *leading.borrow_and_update() {
                match self.round(now()).await {
                    Ok(()) if said.is_empty() => {}
                    Ok(()) => {
                        tracing::info!("certificates are kept again");
                        said.clear();
                    }
                    Err(error) => {
                        next = RETRY;
                        let why = error.to_string();
                        if why != said {
                            tracing::warn!("certificates are not kept: {why}; trying again");
                            said = why;
                        }
                    }
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                changed = leading.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(next) => {}
            }
        }
    }

    /// Does what is due. Another leader's write at the same moment wins; the next round sees it.
    ///
    /// # Errors
    /// The Secret that could not be read or written.
    pub async fn round(&self, now: i64) -> Result<(), KeepError> {
        let mut secret = self.get(AUTHORITY).await?;
        let mut authorities = read_authorities(&secret);
        if authorities.step(now, &self.lives)? {
            secret.data = Some(written_authorities(&authorities));
            // First of all: what nobody could sign again must not be shown.
            self.put(&secret, AUTHORITY).await?;
            tracing::info!(trusted = authorities.trusted.len(), "the authorities changed");
        }
        for leaf in &self.leaves {
            let mut secret = self.get(leaf.secret).await?;
            let shown = read_shown(&secret);
            let wanted = leaf.step(&shown, &authorities, now, &self.lives)?;
            if wanted != shown {
                let data = secret.data.get_or_insert_default();
                for (key, text) in
                    [("tls.crt", &wanted.certificate), ("tls.key", &wanted.key), ("ca.crt", &wanted.bundle)]
                {
                    data.insert(key.to_owned(), ByteString(text.clone().into_bytes()));
                }
                self.put(&secret, leaf.secret).await?;
                tracing::info!(secret = leaf.secret, new = wanted.key != shown.key, "certificate written");
            }
            if let Some(expires) = Leaf::expires(&wanted) {
                self.expiry.lock().unwrap_or_else(PoisonError::into_inner).insert(leaf.secret, expires);
            }
        }
        Ok(())
    }

    async fn get(&self, name: &str) -> Result<Secret, KeepError> {
        self.api.get(name).await.map_err(|error| self.failed(name, &error))
    }

    async fn put(&self, secret: &Secret, name: &str) -> Result<(), KeepError> {
        let put = self.api.replace(name, &PostParams::default(), secret).await;
        put.map(drop).map_err(|error| self.failed(name, &error))
    }

    fn failed(&self, name: &str, error: &kube::Error) -> KeepError {
        let why = match error {
            kube::Error::Api(status) if status.code == 404 => {
                "it does not exist: it comes, empty, with the manifests".to_owned()
            }
            other => explain(other),
        };
        KeepError::Secret { namespace: self.namespace.clone(), name: name.to_owned(), why }
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn text(secret: &Secret, key: &str) -> String {
    let bytes = secret.data.as_ref().and_then(|data| data.get(key)).map_or(&[][..], |bytes| &bytes.0);
    String::from_utf8_lossy(bytes).into_owned()
}

fn read_shown(secret: &Secret) -> Shown {
    Shown {
        certificate: text(secret, "tls.crt"),
        key: text(secret, "tls.key"),
        bundle: text(secret, "ca.crt"),
    }
}

/// What can't be read is not there: it is made anew, and what was trusted stays so as far as it can be read.
fn read_authorities(secret: &Secret) -> Authorities {
    let signer = |name: &str| {
        let (certificate, key) = (text(secret, &format!("{name}.crt")), text(secret, &format!("{name}.key")));
        if certificate.is_empty() && key.is_empty() {
            return None;
        }
        Signer::read(&certificate, &key)
            .inspect_err(|error| tracing::warn!("{AUTHORITY}: {name} is passed over: {error}"))
            .ok()
    };
    let (signing, next) = (signer("tls"), signer("next"));
    let mut trusted = Certificate::read_all(&text(secret, "ca.crt"))
        .inspect_err(|error| tracing::warn!("{AUTHORITY}: ca.crt is passed over: {error}"))
        .unwrap_or_default();
    for one in signing.iter().chain(&next) {
        if !trusted.contains(&one.certificate) {
            trusted.push(one.certificate.clone());
        }
    }
    Authorities { signing, next, trusted }
}

fn written_authorities(authorities: &Authorities) -> BTreeMap<String, ByteString> {
    let mut data = BTreeMap::from([("ca.crt".to_owned(), authorities.bundle())]);
    for (name, signer) in [("tls", &authorities.signing), ("next", &authorities.next)] {
        if let Some(signer) = signer {
            data.insert(format!("{name}.crt"), signer.certificate.pem.clone());
            data.insert(format!("{name}.key"), signer.key.clone());
        }
    }
    data.into_iter().map(|(key, text)| (key, ByteString(text.into_bytes()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_are_the_same_after_a_trip_through_their_secret() {
        let lives = Lives::default();
        let mut authorities = Authorities::default();
        for now in [0, 300 * 24 * 3600] {
            assert!(authorities.step(2_000_000_000 + now, &lives).unwrap());
        }
        assert!(authorities.next.is_some());
        let secret = Secret { data: Some(written_authorities(&authorities)), ..Secret::default() };
        let again = read_authorities(&secret);
        assert_eq!(again.trusted, authorities.trusted);
        for (one, other) in [(&again.signing, &authorities.signing), (&again.next, &authorities.next)] {
            let (one, other) = (one.as_ref().unwrap(), other.as_ref().unwrap());
            assert_eq!((&one.certificate, &one.key), (&other.certificate, &other.key));
        }
    }

    #[test]
    fn what_somebody_broke_is_made_anew_and_trust_stays() {
        let mut authorities = Authorities::default();
        authorities.step(2_000_000_000, &Lives::default()).unwrap();
        let mut data = written_authorities(&authorities);
        data.insert("tls.key".to_owned(), ByteString(b"nonsense".to_vec()));
        let mut again = read_authorities(&Secret { data: Some(data), ..Secret::default() });
        assert!(again.signing.is_none());
        assert!(again.step(2_000_000_060, &Lives::default()).unwrap());
        assert_eq!(again.trusted.len(), 2, "old certificates are still accepted");
    }
}
