//! What programs show each other.

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
};

use super::authority::{Authorities, instant, renewal, seconds};
use super::certificate::{BACKDATED, Certificate};
use super::{CertificateError, Lives};

/// Who shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Name of its Secret.
    pub secret: &'static str,
    pub common_name: &'static str,
    /// DNS names it serves under; a client alone has none.
    pub names: Vec<String>,
}

/// The Secret of the authority, and those of the certificates of a cluster whose Fathom is in `namespace`.
pub const AUTHORITY: &str = "fathom-authority";

/// Agents share one: its name is a wildcard over nodes. The relay has one, and clients that have no better.
pub fn leaves(namespace: &str, cluster: &str) -> Vec<Leaf> {
    let service = |name: &str| {
        let forms =
            ["", &format!(".{namespace}"), &format!(".{namespace}.svc")].map(|tail| format!("{name}{tail}"));
        forms.to_vec()
    };
    let nodes = format!("*.{}.fathom-grpc.fathom.dev", cluster.replace('.', "-"));
    vec![
        Leaf {
            secret: "fathom-agent-tls",
            common_name: "fathom-agent",
            names: [vec![nodes], service("fathom-agent")].concat(),
        },
        Leaf {
            secret: "fathom-relay-tls",
            common_name: "fathom-relay",
            names: [service("fathom-relay"), service("hubble-relay")].concat(),
        },
        Leaf { secret: "fathom-client-tls", common_name: "fathom-client", names: Vec::new() },
    ]
}

/// Contents of a leaf's Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    pub certificate: String,
    pub key: String,
    pub bundle: String,
}

impl Leaf {
    /// What the Secret should hold; the same when nothing is due.
    ///
    /// # Errors
    /// There is no authority, or it can't sign.
    pub fn step(
        &self,
        shown: &Shown,
        authorities: &Authorities,
        now: i64,
        lives: &Lives,
    ) -> Result<Shown, CertificateError> {
        let Some(signing) = &authorities.signing else {
            return Err(CertificateError::Read("no authority to sign with".to_owned()));
        };
        let bundle = authorities.bundle();
        let present = Certificate::read(&shown.certificate).ok().filter(|present| {
            present.issuer == signing.certificate.subject
                && present.names == self.names
                && renewal(present, lives.certificate) > now
                && KeyPair::from_pem(&shown.key).is_ok()
        });
        if present.is_some() {
            return Ok(Shown { bundle, ..shown.clone() });
        }
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(self.names.clone())?;
        params.not_before = instant(now - BACKDATED);
        // No longer than its authority.
        params.not_after = instant((now + seconds(lives.certificate)).min(signing.certificate.expires));
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Fathom");
        params.distinguished_name.push(DnType::CommonName, self.common_name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if !self.names.is_empty() {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &signing.issuer()?)?;
        Ok(Shown { certificate: certificate.pem(), key: key.serialize_pem(), bundle })
    }

    /// Unix seconds at which what is shown expires.
    pub fn expires(shown: &Shown) -> Option<i64> {
        Certificate::read(&shown.certificate).ok().map(|certificate| certificate.expires)
    }
}
