//! Which authorities there are, and which of them signs.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

use super::certificate::{BACKDATED, Certificate};
use super::{CertificateError, Lives};

/// An authority with its key.
#[derive(Clone, Debug)]
pub struct Signer {
    pub certificate: Certificate,
    pub key: String,
}

impl Signer {
    fn make(now: i64, life: Duration) -> Result<Self, CertificateError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = instant(now - BACKDATED);
        params.not_after = instant(now + seconds(life));
        // No two have the same name: a certificate names its issuer by it.
        let tail: String =
            key.public_key_raw().iter().rev().take(4).map(|byte| format!("{byte:02x}")).collect();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Fathom");
        params.distinguished_name.push(DnType::CommonName, format!("Fathom authority {now}-{tail}"));
        let certificate = params.self_signed(&key)?;
        Ok(Signer { certificate: Certificate::read(&certificate.pem())?, key: key.serialize_pem() })
    }

    /// # Errors
    /// One of the texts is not what it should be.
    pub fn read(certificate: &str, key: &str) -> Result<Self, CertificateError> {
        let signer = Signer { certificate: Certificate::read(certificate)?, key: key.to_owned() };
        signer.issuer()?;
        Ok(signer)
    }

    pub(super) fn issuer(&self) -> Result<Issuer<'static, KeyPair>, CertificateError> {
        Ok(Issuer::from_ca_cert_pem(&self.certificate.pem, KeyPair::from_pem(&self.key)?)?)
    }
}

/// The authorities at one moment.
#[derive(Clone, Debug, Default)]
pub struct Authorities {
    pub signing: Option<Signer>,
    /// Trusted already, signs later.
    pub next: Option<Signer>,
    /// All that are trusted, in the order in which they came; the two above among them.
    pub trusted: Vec<Certificate>,
}

impl Authorities {
    /// Does what is due; whether anything changed.
    ///
    /// # Errors
    /// An authority could not be made.
    pub fn step(&mut self, now: i64, lives: &Lives) -> Result<bool, CertificateError> {
        let overlap = seconds(lives.overlap);
        let mut changed = false;
        // One that has expired is nobody's authority; then there is nothing to be gentle about.
        if self.signing.as_ref().is_some_and(|signing| signing.certificate.expires <= now) {
            self.signing = None;
            changed = true;
        }
        if self.next.as_ref().is_some_and(|next| next.certificate.expires <= now) {
            self.next = None;
            changed = true;
        }
        let known = self.next.as_ref().is_some_and(|next| now >= next.certificate.made + overlap);
        if (known || self.signing.is_none())
            && let Some(next) = self.next.take()
        {
            self.signing = Some(next);
            changed = true;
        }
        match &self.signing {
            None => {
                let first = Signer::make(now, lives.authority)?;
                self.trusted.push(first.certificate.clone());
                self.signing = Some(first);
                changed = true;
            }
            // The last certificate it signs must end before it does.
            Some(signing) if self.next.is_none() && renewal(&signing.certificate, lives.authority) <= now => {
                let next = Signer::make(now, lives.authority)?;
                self.trusted.push(next.certificate.clone());
                self.next = Some(next);
                changed = true;
            }
            Some(_) => {}
        }
        let kept = self.trusted.len();
        let (signing, next) = (self.signing.clone(), self.next.clone());
        self.trusted.retain(|one| {
            let holds = |signer: &Option<Signer>| signer.as_ref().is_some_and(|s| s.certificate == *one);
            // It stopped signing when the present one began, an overlap after that was made; what it had signed
            // was replaced at once, and is out of use an overlap later.
            let replaced = signing.as_ref().map_or(i64::MAX, |s| s.certificate.made + 2 * overlap);
            holds(&signing) || holds(&next) || (one.expires > now && now < replaced)
        });
        Ok(changed || kept != self.trusted.len())
    }

    /// Every trusted authority, as one text.
    pub fn bundle(&self) -> String {
        self.trusted.iter().map(|one| one.pem.as_str()).collect()
    }
}

/// When something is made anew: after two thirds of its life.
pub(super) fn renewal(certificate: &Certificate, life: Duration) -> i64 {
    certificate.made.saturating_add(seconds(life) / 3 * 2)
}

pub(super) fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX / 4)
}

pub(super) fn instant(seconds: i64) -> time::OffsetDateTime {
    time::OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(time::OffsetDateTime::UNIX_EPOCH)
}
