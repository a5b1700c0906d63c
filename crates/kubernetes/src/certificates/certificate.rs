//! What a certificate in PEM says of itself.

use x509_parser::pem::Pem;

use super::CertificateError;

/// Clocks of nodes differ: certificates count from this many seconds before they are made.
pub const BACKDATED: i64 = 3600;

/// A certificate as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    pub pem: String,
    pub subject: String,
    pub issuer: String,
    /// Unix seconds.
    pub made: i64,
    pub expires: i64,
    pub names: Vec<String>,
}

impl Certificate {
    /// Reads one.
    ///
    /// # Errors
    /// The text is no certificate.
    pub fn read(pem: &str) -> Result<Self, CertificateError> {
        let all = Self::read_all(pem)?;
        let first = all.into_iter().next();
        first.ok_or_else(|| CertificateError::Read("there is none".to_owned()))
    }

    /// Reads a bundle.
    ///
    /// # Errors
    /// Something in the text is no certificate.
    pub fn read_all(text: &str) -> Result<Vec<Self>, CertificateError> {
        let mut found = Vec::new();
        for block in Pem::iter_from_buffer(text.as_bytes()) {
            let block = block.map_err(|error| CertificateError::Read(error.to_string()))?;
            let parsed = block.parse_x509().map_err(|error| CertificateError::Read(error.to_string()))?;
            let names = parsed.subject_alternative_name().ok().flatten().map_or_else(Vec::new, |names| {
                let names = names.value.general_names.iter();
                names
                    .filter_map(|name| match name {
                        x509_parser::extensions::GeneralName::DNSName(name) => Some((*name).to_owned()),
                        _ => None,
                    })
                    .collect()
            });
            found.push(Certificate {
                pem: pem::encode(&pem::Pem::new("CERTIFICATE", block.contents.clone())),
                subject: parsed.subject().to_string(),
                issuer: parsed.issuer().to_string(),
                made: parsed.validity().not_before.timestamp() + BACKDATED,
                expires: parsed.validity().not_after.timestamp(),
                names,
            });
        }
        Ok(found)
    }
}
