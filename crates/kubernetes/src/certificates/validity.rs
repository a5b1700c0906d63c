//! From when to when a certificate in a file counts. Whether it is to be trusted is rustls' business.

use std::path::Path;

use x509_parser::pem::Pem;

/// Unix seconds, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    pub not_before: i64,
    pub not_after: i64,
}

/// Of the first certificate in a PEM file: the one a program shows for itself.
///
/// # Errors
/// What is wrong with the file, in words.
pub fn validity(path: &Path) -> Result<Validity, String> {
    let shown = path.display();
    let text = std::fs::read(path).map_err(|error| format!("cannot read {shown}: {error}"))?;
    let block = Pem::iter_from_buffer(&text).next();
    let block = block.ok_or_else(|| format!("{shown} holds no certificate"))?;
    let block = block.map_err(|error| format!("{shown} is not PEM: {error}"))?;
    let certificate = block.parse_x509().map_err(|error| format!("{shown} holds no certificate: {error}"))?;
    let validity = certificate.validity();
    Ok(Validity { not_before: validity.not_before.timestamp(), not_after: validity.not_after.timestamp() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_of_a_certificate_are_read_and_other_files_are_named() {
        let mut parameters = rcgen::CertificateParams::new(vec!["agent".into()]).unwrap();
        parameters.not_before = rcgen::date_time_ymd(2024, 2, 29);
        parameters.not_after = rcgen::date_time_ymd(2051, 3, 1);
        let certificate = parameters.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        let path = std::env::temp_dir().join(format!("fathom-validity-{}", std::process::id()));
        std::fs::write(&path, certificate.pem()).unwrap();
        let read = validity(&path);
        std::fs::write(&path, "nothing").unwrap();
        let nothing = validity(&path);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(read, Ok(Validity { not_before: 1_709_164_800, not_after: 2_561_241_600 }));
        assert!(nothing.unwrap_err().contains("holds no certificate"));
        assert!(validity(&path).unwrap_err().contains("cannot read"));
    }
}
